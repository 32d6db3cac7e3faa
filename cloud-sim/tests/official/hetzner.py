"""Drives the local cloud with Hetzner's official client, as a stranger's program would.

Arguments: the base URL. The token comes in HCLOUD_TOKEN. Fails by assertion; prints one line when all went well.
"""

import datetime
import os
import sys

from hcloud import APIException, Client
from hcloud.firewalls import FirewallResource, FirewallResourceLabelSelector, FirewallRule
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType

MINE = "ebbtide-install=official"

client = Client(token=os.environ["HCLOUD_TOKEN"], api_endpoint=sys.argv[1], poll_interval=0.02)


def refused(code, call):
    try:
        call()
    except APIException as error:
        assert error.code == code, f"{error.code} instead of {code}"
        return error
    raise AssertionError(f"not refused with {code}")


def create(name, labels):
    return client.servers.create(
        name=name,
        server_type=ServerType(name="cx23"),
        image=Image(name="debian-12"),
        location=Location(name="fsn1"),
        ssh_keys=[key],
        labels=labels,
        user_data="#cloud-config\n",
    )


def wait(created):
    created.action.wait_until_finished()
    for action in created.next_actions:
        action.wait_until_finished()


# The catalogue.
kind = client.server_types.get_by_name("cx23")
assert kind.architecture == "x86" and kind.prices[0]["price_hourly"]["net"], kind.prices
assert {location.name for location in client.locations.get_all()} >= {"fsn1", "nbg1", "hel1"}
assert client.images.get_by_name_and_architecture("ubuntu-24.04", "x86").status == "available"

# Keys and a firewall bound by label.
public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVubm90aWNlZA official"
key = client.ssh_keys.create(name="official", public_key=public_key)
refused("uniqueness_error", lambda: client.ssh_keys.create(name="other", public_key=public_key))
selector = FirewallResource(
    type=FirewallResource.TYPE_LABEL_SELECTOR, label_selector=FirewallResourceLabelSelector(selector=MINE)
)
rule = FirewallRule(direction="in", protocol="tcp", port="443", source_ips=["0.0.0.0/0", "::/0"])
firewall = client.firewalls.create(name="official", rules=[rule], resources=[selector]).firewall

# More servers than one page holds, and one of somebody else.
servers = [create(f"mine-{n}", {"ebbtide-install": "official", "n": str(n)}) for n in range(53)]
wait(create("theirs", {"ebbtide-install": "other"}))
wait(servers[0])
assert servers[0].root_password is None
refused("uniqueness_error", lambda: create("mine-0", {}))
error = refused(
    "invalid_input",
    lambda: client.servers.create(name="x", server_type=ServerType(name="cx22"), image=Image(name="debian-12")),
)
assert error.details["fields"][0]["name"] == "server_type", error.details

first = client.servers.get_list(label_selector=MINE, per_page=50)
assert len(first.servers) == 50 and first.meta.pagination.next_page == 2, first.meta.pagination
mine = client.servers.get_all(label_selector=MINE)
assert len(mine) == 53 and all(server.labels["ebbtide-install"] == "official" for server in mine)
assert len(client.servers.get_all(label_selector="n in (1,2),!absent")) == 2
assert len(client.servers.get_all(label_selector="ebbtide-install!=official")) == 1
assert len(client.servers.get_all()) == 54

# One server in full.
server = client.servers.get_by_name("mine-0")
assert server.status == "running" and server.location.name == "fsn1" and server.image.name == "debian-12"
assert server.public_net.ipv4.ip.startswith("198.1"), server.public_net.ipv4.ip
assert server.public_net.firewalls[0].firewall.id == firewall.id
server = server.update(labels={"ebbtide-install": "official", "ebbtide-expires": "1794000000"})
assert server.labels["ebbtide-expires"] == "1794000000"
now = datetime.datetime.now(datetime.timezone.utc)
metrics = server.get_metrics(["cpu", "network"], now - datetime.timedelta(minutes=5), now).metrics
assert "cpu" in metrics.time_series and "network.0.bandwidth.in" in metrics.time_series
server.power_off().wait_until_finished()
server.reload()
assert server.status == "off"
image = server.create_image(description="rescue", labels={"ebbtide-expires": "1"})
image.action.wait_until_finished()
assert [found.id for found in client.images.get_all(type=["snapshot"])] == [image.image.id]
assert client.images.delete(image.image)
addresses = client.primary_ips.get_all()
assert len(addresses) == 2 * 54 and all(address.auto_delete for address in addresses)

# Everything goes.
for created in servers:
    wait(created)
deletions = [client.servers.delete(found) for found in client.servers.get_all()]
for deletion in deletions:
    deletion.wait_until_finished()
assert client.servers.get_all() == [] and client.primary_ips.get_all() == []
refused("not_found", lambda: client.servers.get_by_id(server.id))
assert client.firewalls.delete(firewall) and client.ssh_keys.delete(key)
print("official hetzner client: all went well")
