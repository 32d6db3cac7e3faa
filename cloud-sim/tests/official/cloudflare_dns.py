"""Drives the local cloud with Cloudflare's official client: zone, records, batch.

Arguments: the base URL. The token comes in CLOUDFLARE_API_TOKEN. Fails by assertion; prints one line at the end.
"""

import os
import sys

from cloudflare import BadRequestError, Cloudflare, NotFoundError

client = Cloudflare(api_token=os.environ["CLOUDFLARE_API_TOKEN"], base_url=sys.argv[1], max_retries=0)
MARK = "ebbtide official w1 g1"

assert client.user.tokens.verify().status == "active"
zones = list(client.zones.list(name="ebb.localhost"))
assert len(zones) == 1 and zones[0].status == "active", zones
zone = zones[0].id

record = client.dns.records.create(
    zone_id=zone, type="A", name="w1.ebb.localhost", content="198.18.0.10", ttl=60, proxied=False, comment=MARK
)
assert record.name == "w1.ebb.localhost" and record.comment == MARK, record
client.dns.records.create(zone_id=zone, type="A", name="*.w1", content="198.18.0.10", ttl=1, comment=MARK)
client.dns.records.create(zone_id=zone, type="TXT", name="other", content="hello", ttl=1)
try:
    client.dns.records.create(zone_id=zone, type="A", name="w1", content="198.18.0.10", ttl=60)
    raise AssertionError("an identical record was taken")
except BadRequestError as error:
    assert error.body["errors"][0]["code"] == 81058, error.body

# More pages than one.
found = list(client.dns.records.list(zone_id=zone, comment={"startswith": "ebbtide official "}, per_page=1))
assert sorted(each.name for each in found) == ["*.w1.ebb.localhost", "w1.ebb.localhost"], found
found = list(client.dns.records.list(zone_id=zone, name={"exact": "w1.ebb.localhost"}, type="A"))
assert [each.id for each in found] == [record.id]

edited = client.dns.records.edit(
    record.id, zone_id=zone, type="A", name="w1.ebb.localhost", ttl=60, content="198.18.0.11"
)
assert edited.content == "198.18.0.11" and edited.comment == MARK, edited
done = client.dns.records.batch(
    zone_id=zone,
    deletes=[{"id": record.id}],
    posts=[{"type": "A", "name": "w2", "content": "198.18.0.12", "ttl": 60}],
)
assert len(done.deletes) == 1 and done.posts[0].name == "w2.ebb.localhost", done

for each in client.dns.records.list(zone_id=zone):
    assert client.dns.records.delete(each.id, zone_id=zone).id == each.id
assert list(client.dns.records.list(zone_id=zone)) == []
try:
    client.dns.records.delete(record.id, zone_id=zone)
    raise AssertionError("a deleted record was deleted again")
except NotFoundError as error:
    assert error.body["errors"][0]["code"] == 81044, error.body
print("official cloudflare client: all went well")
