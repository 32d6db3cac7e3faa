//! A life with Docker: installed by the boot, a compose project with a database in a named volume, asleep and awake again
//! with its containers. No registry is asked: the image is made on the machine, of Debian's own programs.

use crate::steps::{LIMIT, Life, spawn_with, stack};
use crate::timeline::Timeline;
use anyhow::{Result, ensure};
use ebbtide_system_tests::{VmImage, wait};
use serde_json::json;

/// Installs the programs of an image.
const PROGRAMS: &str = r"set -e
sudo -n ln -s /dev/null /etc/systemd/system/redis-server.service
sudo -n apt-get install -qy --no-install-recommends redis-server busybox >/dev/null 2>&1";

/// Makes an image of Redis and busybox with the libraries that they need. An empty volume takes the owner of its directory
/// in the image.
const IMAGE: &str = r#"set -e
mkdir -p /tmp/image && cd /tmp/image && mkdir -p bin data dir etc tmp www && touch gone dir/old
echo a page of a container > www/index.html
for program in /usr/bin/redis-server /usr/bin/redis-cli /usr/bin/busybox; do
  cp -L $program bin/
  for library in $(ldd $program | grep -o '/[^ ]*'); do mkdir -p .$(dirname $library) && cp -L $library .$library; done
done
for name in sh sleep httpd rm mkdir ls stat; do ln -s busybox bin/$name; done
tar -c --owner=999 --group=4321 . | docker import - db:1"#;

/// A compose project: `db` starts again by no policy, `web` by Docker's own. Its database is user 999's.
const PROJECT: &str = r#"set -e
mkdir -p /workspaces/shop && cd /workspaces/shop
cat >compose.yaml <<'END'
services:
  db:
    image: db:1
    user: "999:4321"
    command: [/bin/redis-server, --dir, /data, --appendonly, "yes", --save, ""]
    volumes: ["rows:/data"]
  web:
    image: db:1
    restart: unless-stopped
    command: [/bin/httpd, -f, -p, "80", -h, /www]
    ports: ["8080:80"]
    depends_on: [db]
volumes:
  rows:
END
docker compose up --pull never --detach 2>&1 | tail -3
until docker exec shop-db-1 /bin/redis-cli ping; do docker logs --tail 3 shop-db-1; sleep 2; done"#;

/// Removes and replaces in the layer of a container what is in its image, and makes what compose knows nothing of.
const BESIDES: &str = r"set -e
docker exec --user 0 shop-db-1 /bin/sh -c 'rm /gone && rm -r /dir && mkdir /dir'
docker run --detach --name idler db:1 /bin/sleep 1000000 >/dev/null
docker create --name resting db:1 /bin/sleep 1000000 >/dev/null
docker network create own >/dev/null";

/// All of Docker that has to come back, a line each.
const SEEN: &str = r#"
docker image ls --no-trunc --format 'image {{.Repository}}:{{.Tag}} {{.ID}}' | sort
docker ps --all --no-trunc --format 'container {{.Names}} {{.ID}}' | sort
docker ps --no-trunc --format 'runs {{.Names}}' | sort
docker volume ls --format 'volume {{.Name}}' | sort
docker network ls --no-trunc --filter type=custom --format 'network {{.Name}} {{.ID}}' | sort
docker exec shop-db-1 /bin/sh -c 'ls -d /gone /dir/old 2>&1; stat -c "owner %u:%g %n" /data /data/appendonlydir'
docker exec shop-db-1 /bin/redis-cli get customers
docker exec shop-db-1 /bin/redis-cli dbsize
"#;

#[test]
fn containers_and_their_database_sleep_and_wake() -> Result<()> {
    let mut timeline = Timeline::new("docker");
    let stack = timeline.must("control plane and local cloud are up", || {
        Ok((String::new(), stack("vm-docker", VmImage::Prepared, &[])?))
    })?;
    let id =
        timeline.must("spawn with Docker, until ready", || spawn_with(&stack, json!({ "docker": true })))?;
    let life = Life { stack, id };
    timeline.must("Docker as it was installed", || Ok((life.docker_step()?, ())))?;
    for (step, text) in [
        ("programs for an image", PROGRAMS),
        ("an image of them", IMAGE),
        ("a compose project with a database", PROJECT),
        ("containers and a network besides", BESIDES),
    ] {
        timeline.must(step, || Ok((life.guest()?.shell_as("ebb", text)?, ())))?;
    }
    timeline.must("the database is written to", || Ok((life.fills_database()?, ())))?;
    timeline.step("a published port answers through the door", || life.container_answers());
    timeline.step("a container that works is why it is awake", || life.container_works());
    let before = timeline.must("what there is", || life.containers().map(|seen| (seen.clone(), seen)))?;
    timeline.must("sleep, until the server is gone", || Ok((life.sleep()?, ())))?;
    timeline.must("wake, until ready", || Ok((life.wake()?, ())))?;
    timeline.step("Docker as it was installed again", || life.docker_step());
    timeline.step("the same images, containers, volumes, networks and rows", || {
        let after = life.containers()?;
        ensure!(after == before, "before:\n{before}\nafter:\n{after}");
        Ok(format!("{} lines the same", after.lines().count()))
    });
    timeline.step("a published port answers through the door again", || life.container_answers());
    timeline.step("the database takes more", || {
        life.guest()?.shell_as("ebb", "docker exec shop-db-1 /bin/redis-cli set more 1")
    });
    timeline.step("systemd has no failed unit", || life.no_failed_unit());
    timeline.step("everything ends", || life.stack.stop().map(|()| String::new()));
    timeline.end()
}

impl Life {
    /// What the boot step said.
    fn docker_step(&self) -> Result<String> {
        let workspace = self.workspace().map_err(anyhow::Error::msg)?;
        let step = workspace.boot.iter().find(|step| step.name == "docker");
        let step = step.ok_or_else(|| anyhow::anyhow!("there is no such step: {:?}", workspace.boot))?;
        ensure!(!step.warned, "{step:?}");
        Ok(step.detail.clone().unwrap_or_default())
    }

    /// Writes 5 000 rows, and what takes place in the file of the volume.
    fn fills_database(&self) -> Result<String> {
        let text = "docker exec shop-db-1 /bin/redis-cli set customers 'all of them' >/dev/null && \
            seq 5000 | sed 's/.*/set row-& value-&/' | docker exec -i shop-db-1 /bin/redis-cli --pipe | tail -1";
        self.guest()?.shell_as("ebb", text)
    }

    fn containers(&self) -> Result<String> {
        self.guest()?.shell_as("ebb", SEEN)
    }

    /// Asserts that what a container serves is listed and answers where the door asks.
    fn container_answers(&self) -> Result<String> {
        wait::until("the port of a container", LIMIT, || {
            let workspace = self.workspace()?;
            let listed = workspace.ports.iter().any(|port| port.port == 8080);
            if listed { Ok(()) } else { Err(format!("{:?}", workspace.ports)) }
        })?;
        self.page_of(8080, "a page of a container")
    }

    /// Lets a container count, and asserts that it is said to be at work; then it is gone.
    fn container_works(&self) -> Result<String> {
        let guest = self.guest()?;
        let at_rest = guest.shell_as("ebb", "ebb why | head -3")?;
        guest.shell_as("ebb", "docker run --detach --name busy db:1 /bin/sh -c 'while :; do :; done'")?;
        let why = wait::until("the container as a reason", LIMIT, || {
            let why = guest.shell_as("ebb", "ebb why --json").map_err(|error| format!("{error:#}"))?;
            if why.contains("a container works") { Ok(why) } else { Err(why) }
        });
        guest.shell_as("ebb", "docker rm --force busy")?;
        why.map(|_| format!("before: {}", at_rest.replace('\n', " / ")))
    }
}
