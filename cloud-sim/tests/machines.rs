//! Process machines, seen from outside: each test boots real ones and asserts what is true in them and on the host.
//!
//! They need root for the mounts, and say so loudly where they are skipped. Nothing is faked; time limits are generous
//! bounds of conditions that are polled, never pauses.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ebbtide_cloud_sim::machines::{
    MachineError, MachineEvent, MachineFault, MachineSpec, Machines, ProcessConfig, ProcessMachines,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(30);

/// A local cloud of one test.
struct Cloud {
    machines: ProcessMachines,
    dir: tempfile::TempDir,
}

/// `None`, loudly, where the tests cannot run.
fn rooted(test: &str) -> Option<()> {
    if rustix::process::geteuid().is_root() {
        return Some(());
    }
    eprintln!(
        "SKIPPED {test}: machines need root to mount their file systems; run the tests as root to include it"
    );
    None
}

fn new_server_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) * 1000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Cloud {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(configure: impl FnOnce(&mut ProcessConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ProcessConfig {
            data_dir: dir.path().to_owned(),
            control_plane: None,
            program_dir: None,
            repositories: None,
            program: Some(env!("CARGO_BIN_EXE_cloud-sim").into()),
        };
        configure(&mut config);
        Self { machines: ProcessMachines::start(config).await.unwrap(), dir }
    }

    /// Boots a machine with a cloud-config, given without its first line.
    async fn boot(&self, cloud_config: &str) -> MachineSpec {
        let server_id = new_server_id();
        let spec = MachineSpec {
            server_id,
            name: "demo".into(),
            ipv4: Ipv4Addr::new(203, 0, 113, 7),
            user_data: format!("#cloud-config\n{cloud_config}").into_bytes(),
            disk_from: None,
        };
        self.machines.power_on(&spec).await.unwrap();
        spec
    }

    /// Boots a machine that runs a shell script once, and waits for the script's last line.
    async fn run(&self, script: &str) -> MachineSpec {
        let spec = self.boot(&runcmd(&format!("{script}\necho finished > /finished"))).await;
        self.wait_for(&spec, "/finished", "finished").await;
        spec
    }

    fn machine_dir(&self, spec: &MachineSpec) -> PathBuf {
        self.dir.path().join("machines").join(spec.server_id.to_string())
    }

    /// The text of a file that the machine wrote.
    fn read(&self, spec: &MachineSpec, path: &str) -> String {
        fs::read_to_string(self.machine_dir(spec).join("upper").join(path.trim_start_matches('/')))
            .unwrap_or_default()
    }

    /// Waits until a file of the machine contains a text.
    async fn wait_for(&self, spec: &MachineSpec, path: &str, text: &str) {
        let found = until(|| self.read(spec, path).contains(text)).await;
        assert!(
            found,
            "{path} never contained {text:?} but {:?}\n--- console\n{}\n--- boot\n{}",
            self.read(spec, path),
            fs::read_to_string(self.machine_dir(spec).join("console.log")).unwrap_or_default(),
            self.read(spec, "/var/log/cloud-init-output.log"),
        );
    }
}

/// A cloud-config with one script, which needs no quoting.
fn runcmd(script: &str) -> String {
    let indented: String = script.lines().map(|line| format!("    {line}\n")).collect();
    format!("runcmd:\n- |\n{indented}")
}

async fn until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The host's id of a machine's PID 1.
fn init_of(server_id: u64) -> Option<u32> {
    let wanted = format!("machine-init\0boot\0{server_id}\0");
    processes().into_iter().find(|pid| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).ends_with(&wanted))
    })
}

fn namespaces(pid: u32) -> BTreeSet<PathBuf> {
    let kinds = ["pid", "net", "mnt", "user", "uts", "ipc"];
    kinds.iter().filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()).collect()
}

/// Who lives in the namespaces, each with the tick at which it started: the kernel gives numbers of namespaces and of
/// processes that are gone to the next machine.
fn inhabitants(wanted: &BTreeSet<PathBuf>) -> Vec<(u32, String)> {
    let inside = |pid: &u32| !namespaces(*pid).is_disjoint(wanted);
    processes().into_iter().filter(inside).filter_map(|pid| Some((pid, started(pid)?))).collect()
}

fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before the last parenthesis may hold anything; the start is the 20th field after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

fn any_lives(who: &[(u32, String)]) -> bool {
    who.iter().any(|(pid, start)| started(*pid).as_ref() == Some(start))
}

#[tokio::test]
async fn a_machine_runs_its_user_data_as_root_of_its_own() {
    let Some(()) = rooted("a_machine_runs_its_user_data_as_root_of_its_own") else { return };
    let cloud = Cloud::start().await;
    let spec = cloud
        .boot(
            "write_files:\n\
             - {path: /etc/demo/secret, content: 'hush', permissions: '0600'}\n\
             - path: /etc/systemd/system/demo.service\n  content: |\n    \
               [Service]\n    ExecStart=/bin/sh -c 'echo service $GREETING as $(id -u); exec sleep 1000'\n    \
               Environment=GREETING=hello\n    [Install]\n    WantedBy=multi-user.target\n\
             hostname: named\n\
             users: [{name: root, lock_passwd: true}, {name: dev, uid: 1000}]\n\
             packages: [bash, no-such-package]\n\
             runcmd:\n\
             - [systemctl, enable, --now, demo]\n\
             - cat /proc/self/uid_map > /report\n\
             - stat -c 'etc %u %g' /etc >> /report\n\
             - echo \"host $(hostname) $(cat /etc/hostname)\" >> /report\n\
             - echo \"homes $(ls -A /root) $(ls -A /home)\" >> /report\n\
             - echo \"top $(ls -A / | tr '\\n' ' ')\" >> /report\n\
             - 'setpriv --reuid 1000 --regid 1000 --clear-groups id -u >> /report'\n\
             - 'runuser -u dev -- sh -c \"echo runuser $(id -un) $HOME; touch ~/mine\" >> /report'\n\
             - 'su dev -c \"echo su $(id -un)\" >> /report'\n\
             - 'false'\n\
             - [usermod, --password, '*', root]\n\
             - 'echo usermod $? >> /report'\n\
             - systemctl is-active demo >> /report\n\
             - for program in bash git python3 curl; do $program --version >/dev/null 2>&1 || $program -V >/dev/null 2>&1 || $program version > /dev/null || echo \"missing $program\" >> /report; done\n\
             - [sh, -c, 'echo finished >> /report']\n",
        )
        .await;
    cloud.wait_for(&spec, "/report", "finished").await;
    let report = cloud.read(&spec, "/report");
    println!("{report}");
    assert!(report.contains("         0     100000      65536"), "{report}");
    assert!(report.contains("etc 0 0\n"));
    assert!(report.contains("host named named\n"));
    assert!(report.contains("homes  dev\n"), "the host's homes are hidden: {report}");
    for shown in ["bin ", "etc ", "usr ", "var "] {
        assert!(report.contains(shown));
    }
    let top = report.lines().find(|line| line.starts_with("top")).unwrap();
    for hidden in
        fs::read_dir("/").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok())
    {
        let known = "bin boot dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin srv sys tmp usr var";
        if !known.split(' ').any(|name| name == hidden) {
            assert!(!top.split(' ').any(|name| name == hidden), "{hidden} is the host's own: {top}");
        }
    }
    assert!(report.contains("\n1000\n"));
    assert!(report.contains("su root") || report.contains("su dev"), "{report}");
    assert!(report.contains("active\n"));
    assert!(report.contains("usermod 0\n"), "{report}");
    assert!(!report.contains("missing"), "{report}");
    let log = cloud.read(&spec, "/var/log/cloud-init-output.log");
    assert!(log.contains("package bash is there"), "{log}");
    assert!(log.contains("package no-such-package is not there"));
    cloud.wait_for(&spec, "/var/log/demo.service.log", "service hello as 0").await;

    let secret = cloud.machine_dir(&spec).join("upper/etc/demo/secret").metadata().unwrap();
    assert_eq!((secret.uid(), secret.mode() & 0o7777), (100_000, 0o600));
    let mine = cloud.machine_dir(&spec).join("upper/home/dev/mine").metadata().unwrap();
    assert_eq!(mine.uid(), 101_000);
    cloud.machines.close().await;
}

#[tokio::test]
async fn a_machine_cannot_change_the_host_nor_see_its_secrets() {
    let Some(()) = rooted("a_machine_cannot_change_the_host_nor_see_its_secrets") else { return };
    let cloud = Cloud::start().await;
    let marker = format!("ebbtide-marker-{}", new_server_id());
    let program = env!("CARGO_BIN_EXE_cloud-sim");
    let spec = cloud
        .run(&format!(
            "exec > /report 2>&1\n\
             touch /usr/bin/{marker} /etc/{marker} && echo wrote here\n\
             rm /etc/shadow- 2>/dev/null; cat /etc/shadow\n\
             try() {{ if \"$@\" >/dev/null 2>&1; then echo \"DONE $*\"; else echo \"refused $*\"; fi; }}\n\
             try sysctl -w kernel.hostname=x\n\
             try sh -c 'echo 1 > /proc/sys/vm/drop_caches'\n\
             try sh -c 'echo x > /proc/sys/kernel/core_pattern'\n\
             try sh -c 'echo h > /proc/sysrq-trigger'\n\
             try mount -t tmpfs none /mnt\n\
             try mount --bind /etc /mnt\n\
             try umount /proc/sys\n\
             try mount -o remount,rw /proc/sys\n\
             try unshare -Ur true\n\
             try mknod /dev/sda b 8 0\n\
             try chroot /proc/1/root true\n\
             try cat {program}\n\
             try ip link add x type dummy\n\
             try nsenter -t 1 -m true\n\
             try sh -c 'echo > /usr/local/lib/cloud-sim/machine'\n\
             ls /sys /dev\n\
             grep NoNewPrivs /proc/self/status\n\
             find / -xdev -readable -path '*/ssh_host_*key' ! -name '*.pub'\n\
             ps -e | wc -l"
        ))
        .await;
    let report = cloud.read(&spec, "/report");
    println!("{report}");
    assert!(report.contains("wrote here"));
    for dir in ["/usr/bin", "/etc"] {
        assert!(!Path::new(dir).join(&marker).exists(), "the machine wrote to the host");
    }
    let done: Vec<_> = report.lines().filter(|line| line.starts_with("DONE")).collect();
    assert_eq!(done, ["DONE chroot /proc/1/root true"], "only a change within the machine may succeed");
    assert!(report.contains("NoNewPrivs:\t1"));
    assert!(!report.contains("\nsda\n"));
    let hash_of_root = fs::read_to_string("/etc/shadow").unwrap().lines().next().unwrap().to_owned();
    assert!(!report.contains(&hash_of_root), "the host's passwords are hidden");
    assert!(report.contains("root:*:19000"));
    cloud.machines.close().await;
}

#[tokio::test]
async fn terminals_backups_and_the_owners_of_ports_work_inside() {
    let Some(()) = rooted("terminals_backups_and_the_owners_of_ports_work_inside") else { return };
    for program in ["tmux", "restic"] {
        if !Path::new("/usr/bin").join(program).exists() {
            return eprintln!(
                "SKIPPED terminals_backups_and_the_owners_of_ports_work_inside: {program} is not installed"
            );
        }
    }
    let cloud = Cloud::start().await;
    let spec = cloud
        .run(
            "useradd -m -u 1000 -s /bin/bash dev\n\
             as_dev() { setpriv --reuid 1000 --regid 1000 --init-groups env HOME=/home/dev \"$@\"; }\n\
             as_dev tmux new-session -d -s t 'tty > ~/terminal; echo $((6 * 7)) >> ~/terminal; sleep 1000'\n\
             while ! grep -q 42 /home/dev/terminal; do sleep 0.05; done\n\
             as_dev python3 -m http.server 8001 > /dev/null 2>&1 &\n\
             curl -sS --retry 50 --retry-connrefused --retry-delay 1 -o /dev/null http://127.0.0.1:8001/\n\
             ls -l /proc/$(pgrep -f http.server)/fd | grep -c socket > /sockets\n\
             export RESTIC_PASSWORD=x HOME=/root\n\
             restic init -q -r /srv/repo && restic backup -q -r /srv/repo /home/dev && restic check -q -r /srv/repo && echo clean > /checked",
        )
        .await;
    assert_eq!(cloud.read(&spec, "/home/dev/terminal"), "/dev/pts/0\n42\n");
    assert_eq!(cloud.read(&spec, "/sockets"), "1\n");
    assert_eq!(
        cloud.read(&spec, "/checked"),
        "clean\n",
        "{}",
        cloud.read(&spec, "/var/log/cloud-init-output.log")
    );
    cloud.machines.close().await;
}

#[tokio::test]
async fn restart_always_revives_a_killed_service_with_its_whole_tree_gone() {
    let Some(()) = rooted("restart_always_revives_a_killed_service_with_its_whole_tree_gone") else { return };
    let cloud = Cloud::start().await;
    let spec = cloud
        .boot(
            "write_files:\n\
             - path: /etc/systemd/system/demo.service\n  content: |\n    \
               [Service]\n    ExecStart=/bin/sh -c 'setsid sleep 1000 & echo started $$ >> /starts; exec sleep 2000'\n    \
               Restart=always\n    RestartSec=0\n\
             runcmd:\n\
             - systemctl start demo\n\
             - kill -9 $(systemctl show -p MainPID --value demo)\n\
             - while [ $(wc -l < /starts) -lt 2 ]; do sleep 0.05; done\n\
             - echo \"sleepers $(pgrep -c sleep) state $(systemctl is-active demo)\" > /report\n\
             - systemctl stop demo\n\
             - echo \"after stop $(pgrep -c sleep) state $(systemctl is-active demo)\" >> /report\n",
        )
        .await;
    cloud.wait_for(&spec, "/report", "after stop").await;
    assert_eq!(
        cloud.read(&spec, "/report"),
        "sleepers 2 state active\nafter stop 0 state inactive\n",
        "{}",
        fs::read_to_string(cloud.machine_dir(&spec).join("console.log")).unwrap()
    );
    cloud.machines.close().await;
}

#[tokio::test]
async fn power_off_keeps_the_disk_and_user_data_runs_once() {
    let Some(()) = rooted("power_off_keeps_the_disk_and_user_data_runs_once") else { return };
    let cloud = Cloud::start().await;
    let spec = cloud
        .boot(
            "write_files:\n\
             - path: /etc/systemd/system/demo.service\n  content: |\n    \
               [Service]\n    ExecStart=/bin/sh -c 'echo boot >> /boots; exec sleep 1000'\n    \
               [Install]\n    WantedBy=multi-user.target\n\
             bootcmd: ['echo bootcmd >> /bootcmds']\n\
             runcmd: ['systemctl enable --now demo', 'echo once >> /once', 'touch /tmp/gone']\n",
        )
        .await;
    cloud.wait_for(&spec, "/once", "once").await;
    cloud.wait_for(&spec, "/boots", "boot").await;
    assert_eq!(cloud.machines.list().await, [spec.server_id]);
    cloud.machines.power_off(spec.server_id).await.unwrap();
    cloud.machines.power_off(spec.server_id).await.unwrap();
    assert_eq!(cloud.machines.list().await, [0_u64; 0]);
    assert_eq!(init_of(spec.server_id), None);
    cloud.machines.power_on(&spec).await.unwrap();
    cloud.machines.power_on(&spec).await.unwrap();
    cloud.wait_for(&spec, "/boots", "boot\nboot\n").await;
    assert_eq!(cloud.read(&spec, "/bootcmds"), "bootcmd\nbootcmd\n");
    assert_eq!(cloud.read(&spec, "/once"), "once\n");
    assert!(!cloud.machine_dir(&spec).join("upper/tmp/gone").exists());
    cloud.machines.close().await;
}

#[tokio::test]
async fn a_machine_clones_from_the_git_host_and_port_80_stays_its_own() {
    let Some(()) = rooted("a_machine_clones_from_the_git_host_and_port_80_stays_its_own") else { return };
    let repos = tempfile::tempdir().unwrap();
    let work = repos.path().join("app");
    let git = |arguments: &[&str]| {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.com",
                "-c",
                "init.defaultBranch=main",
                "-C",
            ])
            .arg(&work)
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    fs::create_dir(&work).unwrap();
    git(&["init", "-q"]);
    fs::write(work.join("hello.txt"), "hello from the repository\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "-qm", "first"]);

    let cloud = Cloud::with(|config| config.repositories = Some(repos.path().to_owned())).await;
    let spec = cloud
        .run(
            "exec > /report 2>&1\n\
             (python3 -m http.server 80 --directory /var/empty-web --bind 0.0.0.0 & ) || true\n\
             mkdir -p /srv/app && git clone http://git.ebbtide.test/app.git /srv/app\n\
             git clone --depth 1 --filter=blob:none http://git.ebbtide.test/app /srv/shallow\n\
             git -C /srv/app -c user.name=t -c user.email=t@e commit --allow-empty -qm second\n\
             git -C /srv/app push origin HEAD:main && echo PUSHED\n\
             git clone http://git.ebbtide.test/none.git /srv/none && echo CLONED\n\
             curl -sS --max-time 5 http://example.com && echo REACHED\n\
             curl -sS -o /dev/null -w 'own port 80: %{http_code}\\n' --retry 20 --retry-connrefused --retry-delay 1 http://203.0.113.7/",
        )
        .await;
    let report = cloud.read(&spec, "/report");
    assert_eq!(cloud.read(&spec, "/srv/app/hello.txt"), "hello from the repository\n", "{report}");
    assert_eq!(cloud.read(&spec, "/srv/shallow/hello.txt"), "hello from the repository\n", "{report}");
    for never in ["PUSHED", "CLONED", "REACHED"] {
        assert!(!report.contains(never), "{report}");
    }
    assert!(report.contains("own port 80: 404") || report.contains("own port 80: 200"), "{report}");
    cloud.machines.close().await;
}

#[tokio::test]
async fn visitors_reach_what_listens_on_the_address_but_not_on_loopback() {
    let Some(()) = rooted("visitors_reach_what_listens_on_the_address_but_not_on_loopback") else { return };
    let cloud = Cloud::start().await;
    let spec = cloud
        .run(
            "mkdir -p /srv/web; echo 'hello, visitor' > /srv/web/index.html\n\
             serve() { python3 -m http.server $1 --bind $2 --directory /srv/web >> /visits 2>&1 & }\n\
             serve 8001 0.0.0.0; serve 8002 127.0.0.1; serve 8003 203.0.113.7\n\
             for port in 8001 8002; do curl -sS --retry 50 --retry-connrefused --retry-delay 1 http://127.0.0.1:$port/; done\n\
             curl -sS --retry 50 --retry-connrefused --retry-delay 1 http://203.0.113.7:8003/",
        )
        .await;
    let get = async |port| -> Result<String, MachineError> {
        let mut stream = cloud.machines.connect(spec.server_id, port).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        Ok(answer)
    };
    assert!(get(8001).await.unwrap().contains("hello, visitor"));
    assert!(get(8003).await.unwrap().contains("hello, visitor"));
    assert!(matches!(get(8002).await, Err(MachineError::Refused { port: 8002, .. })));
    assert!(cloud.read(&spec, "/visits").contains("192.0.2.1 - -"), "visitors come from the internet");
    let unknown = cloud.machines.connect(1, 80).await;
    assert!(matches!(unknown, Err(MachineError::NotOn(1))));
    let usage = cloud.machines.usage(spec.server_id).await.unwrap();
    assert!(
        usage.cpu_millis > 0 && usage.network_in_bytes > 100 && usage.network_out_bytes > 100,
        "{usage:?}"
    );
    cloud.machines.close().await;
}

#[tokio::test]
async fn the_control_plane_has_one_address_inside_and_outside() {
    let Some(()) = rooted("the_control_plane_has_one_address_inside_and_outside") else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nthe control plane\n").await;
        }
    });
    let programs = tempfile::tempdir().unwrap();
    fs::write(programs.path().join("greet"), "#!/bin/sh\necho greetings\n").unwrap();
    fs::set_permissions(programs.path().join("greet"), fs::Permissions::from_mode(0o755)).unwrap();
    let cloud = Cloud::with(|config| {
        config.control_plane = Some(address);
        config.program_dir = Some(programs.path().to_owned());
    })
    .await;
    let spec = cloud
        .run(&format!(
            "greet > /greeting; echo spoilt >> /usr/local/bin/greet; curl -sS http://{address}/ > /answer"
        ))
        .await;
    assert_eq!(cloud.read(&spec, "/answer"), "the control plane\n");
    assert_eq!(cloud.read(&spec, "/greeting"), "greetings\n");
    assert!(!fs::read_to_string(programs.path().join("greet")).unwrap().contains("spoilt"));
    cloud.machines.close().await;
}

#[tokio::test]
async fn destroy_leaves_no_process_namespace_mount_or_directory() {
    let Some(()) = rooted("destroy_leaves_no_process_namespace_mount_or_directory") else { return };
    let cloud = Cloud::start().await;
    let spec = cloud.run("(setsid nohup sleep 1000 &) ; mkdir -p /srv/deep/er; chmod 000 /srv/deep").await;
    let init = init_of(spec.server_id).expect("the machine runs");
    let host = namespaces(std::process::id());
    let its = namespaces(init);
    assert_eq!(its.len(), 6);
    assert!(its.is_disjoint(&host), "all its namespaces are its own");
    let inhabitants = inhabitants(&its);
    assert!(inhabitants.len() > 1, "its init and the sleeper");
    let dir = cloud.machine_dir(&spec);
    assert!(dir.is_dir());
    cloud.machines.destroy(spec.server_id).await.unwrap();
    cloud.machines.destroy(spec.server_id).await.unwrap();
    assert!(!dir.exists());
    assert!(until(|| !any_lives(&inhabitants)).await);
    assert!(
        !fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&*cloud.dir.path().to_string_lossy())
    );
    assert_eq!(cloud.machines.list().await, [0_u64; 0]);
    cloud.machines.close().await;
}

#[tokio::test]
async fn two_machines_do_not_see_each_other() {
    let Some(()) = rooted("two_machines_do_not_see_each_other") else { return };
    let cloud = Cloud::start().await;
    let first =
        cloud.run("python3 -m http.server 8001 > /dev/null 2>&1 &\nsleep 4321 &\ntouch /usr/bin/first").await;
    let second = MachineSpec {
        server_id: new_server_id(),
        ipv4: Ipv4Addr::new(203, 0, 113, 8),
        user_data: b"#cloud-config\nruncmd:\n- ls /usr/bin/first > /report 2>&1\n- pgrep -a sleep >> /report\n\
                     - 'curl -sS --max-time 3 http://203.0.113.7:8001/ >> /report 2>&1 && echo REACHED >> /report'\n\
                     - echo finished >> /report\n"
            .to_vec(),
        ..first.clone()
    };
    cloud.machines.power_on(&second).await.unwrap();
    cloud.wait_for(&second, "/report", "finished").await;
    let report = cloud.read(&second, "/report");
    assert!(
        report.contains("No such file") && !report.contains("4321") && !report.contains("REACHED"),
        "{report}"
    );
    let mut both = [first.server_id, second.server_id];
    both.sort_unstable();
    assert_eq!(cloud.machines.list().await, both);
    cloud.machines.close().await;
}

#[tokio::test]
async fn a_lost_network_swallows_and_a_restored_one_delivers() {
    let Some(()) = rooted("a_lost_network_swallows_and_a_restored_one_delivers") else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nback\n").await;
        }
    });
    let cloud = Cloud::with(|config| config.control_plane = Some(address)).await;
    let spec = cloud
        .boot(&runcmd(&format!(
            "python3 -m http.server 8001 > /dev/null 2>&1 &\n\
             curl -sS --retry 50 --retry-connrefused --retry-delay 1 -o /dev/null http://203.0.113.7:8001/\n\
             echo up > /up\n\
             while [ ! -e /lost ]; do curl -sS --max-time 1 http://{address}/ > /dev/null 2>&1 || touch /lost; done\n\
             curl -sS --max-time 1 http://git.ebbtide.test/ > /git 2>&1\n\
             echo \"lost $(cat /git)\" > /report\n\
             curl -sS --max-time 30 http://{address}/ >> /report\n\
             curl -sS --max-time 30 http://git.ebbtide.test/ >> /report"
        )))
        .await;
    cloud.wait_for(&spec, "/up", "up").await;
    cloud.machines.connect(spec.server_id, 8001).await.unwrap();
    cloud.machines.fault(spec.server_id, MachineFault::LoseNetwork).await.unwrap();
    cloud.wait_for(&spec, "/report", "lost").await;
    let unreachable = cloud.machines.connect(spec.server_id, 8001).await;
    assert!(matches!(unreachable, Err(MachineError::Unreachable(_))));
    cloud.machines.fault(spec.server_id, MachineFault::RestoreNetwork).await.unwrap();
    cloud.wait_for(&spec, "/report", "back\n").await;
    cloud.wait_for(&spec, "/report", "no such repository").await;
    cloud.machines.connect(spec.server_id, 8001).await.unwrap();
    let report = cloud.read(&spec, "/report");
    assert!(report.contains("timed out") || report.contains("Failed to connect"), "{report}");
    cloud.machines.close().await;
}

#[tokio::test]
async fn machines_hang_die_and_never_boot_as_asked() {
    let Some(()) = rooted("machines_hang_die_and_never_boot_as_asked") else { return };
    let cloud = Cloud::start().await;
    let spec = cloud.run("(while true; do date +%s%N > /clock; sleep 0.02; done) &").await;
    let id = spec.server_id;
    cloud.machines.fault(id, MachineFault::Hang).await.unwrap();
    let stopped = || {
        let pid = init_of(id).unwrap();
        fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ")
    };
    assert!(until(stopped).await);
    assert_eq!(cloud.machines.list().await, [id]);
    cloud.machines.power_off(id).await.unwrap();
    cloud.machines.power_on(&spec).await.unwrap();
    assert_eq!(cloud.machines.list().await, [id]);
    let mut events = cloud.machines.events();
    cloud.machines.fault(id, MachineFault::Die).await.unwrap();
    assert_eq!(cloud.machines.list().await, [0_u64; 0]);
    assert!(events.try_recv().is_err(), "nobody is told of a death");
    assert_eq!(cloud.machines.usage(id).await, None);

    let never = MachineSpec { server_id: new_server_id(), ..spec };
    cloud.machines.fault(never.server_id, MachineFault::NeverBoot).await.unwrap();
    cloud.machines.power_on(&never).await.unwrap();
    assert_eq!(init_of(never.server_id), None);
    cloud.machines.power_on(&never).await.unwrap();
    assert!(init_of(never.server_id).is_some());
    cloud.machines.close().await;
}

#[tokio::test]
async fn an_image_starts_another_machine_from_the_same_disk() {
    let Some(()) = rooted("an_image_starts_another_machine_from_the_same_disk") else { return };
    let cloud = Cloud::start().await;
    let spec = cloud
        .run("useradd -m -u 1000 dev; echo kept > /home/dev/file; chown dev /home/dev/file; rm /usr/bin/tmux")
        .await;
    cloud.machines.power_off(spec.server_id).await.unwrap();
    cloud.machines.save_image(spec.server_id, 5).await.unwrap();
    let unknown = cloud.machines.save_image(new_server_id(), 6).await;
    assert!(matches!(unknown, Err(MachineError::NoDisk(_))));
    cloud.machines.destroy(spec.server_id).await.unwrap();
    let next = MachineSpec {
        server_id: new_server_id(),
        name: "salvage".into(),
        disk_from: Some(5),
        user_data: b"#cloud-config\nruncmd: ['echo $(hostname) $(runuser -u dev cat /home/dev/file) $(ls /usr/bin/tmux) > /salvaged']\n"
            .to_vec(),
        ..spec
    };
    cloud.machines.power_on(&next).await.unwrap();
    cloud.wait_for(&next, "/salvaged", "\n").await;
    assert_eq!(cloud.read(&next, "/salvaged"), "salvage kept\n");
    cloud.machines.delete_image(5).await.unwrap();
    cloud.machines.delete_image(5).await.unwrap();
    assert!(fs::read_dir(cloud.dir.path().join("images")).unwrap().next().is_none());
    cloud.machines.close().await;
}

#[tokio::test]
async fn a_machine_reboots_and_shuts_itself_down() {
    let Some(()) = rooted("a_machine_reboots_and_shuts_itself_down") else { return };
    let cloud = Cloud::start().await;
    let mut events = cloud.machines.events();
    let spec = cloud
        .boot(
            "write_files:\n\
             - path: /etc/systemd/system/demo.service\n  content: |\n    \
               [Service]\n    ExecStart=/usr/local/bin/demo\n    TimeoutStopSec=5\n    [Install]\n    WantedBy=multi-user.target\n\
             - path: /usr/local/bin/demo\n  permissions: '0755'\n  content: |\n    \
               #!/bin/sh\n    trap 'echo asked >> /boots; exit 0' TERM\n    echo boot >> /boots\n    \
               [ $(grep -c boot /boots) = 1 ] && (sleep 0.2; reboot) &\n    \
               [ $(grep -c boot /boots) = 2 ] && (sleep 0.2; systemctl poweroff) &\n    while true; do sleep 0.1; done\n\
             runcmd: ['systemctl enable --now demo']\n",
        )
        .await;
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    let told = format!(
        "{event:?} {} {}",
        cloud.read(&spec, "/boots"),
        fs::read_to_string(cloud.machine_dir(&spec).join("console.log")).unwrap()
    );
    assert_eq!(event.ok(), Some(Ok(MachineEvent::PoweredOff { server_id: spec.server_id })), "{told}");
    assert_eq!(cloud.read(&spec, "/boots"), "boot\nasked\nboot\nasked\n", "services were asked to end");
    assert_eq!(cloud.machines.list().await, [0_u64; 0]);
    cloud.machines.close().await;
}

#[tokio::test]
async fn unusable_orders_are_refused_with_a_reason() {
    let Some(()) = rooted("unusable_orders_are_refused_with_a_reason") else { return };
    let cloud = Cloud::start().await;
    let spec = MachineSpec {
        server_id: new_server_id(),
        name: "demo".into(),
        ipv4: Ipv4Addr::new(198, 51, 100, 1),
        user_data: Vec::new(),
        disk_from: None,
    };
    let taken = cloud.machines.power_on(&spec).await.unwrap_err().to_string();
    assert!(taken.contains("taken by the simulated internet"), "{taken}");
    let no_image = MachineSpec { ipv4: Ipv4Addr::new(203, 0, 113, 9), disk_from: Some(77), ..spec };
    let missing = cloud.machines.power_on(&no_image).await.unwrap_err().to_string();
    assert!(missing.contains("image 77"), "{missing}");
    assert_eq!(cloud.machines.list().await, [0_u64; 0]);

    let odd = cloud.boot("runcmd: 5\n").await;
    cloud.wait_for(&odd, "/var/log/cloud-init-output.log", "user-data is not used").await;
    cloud.machines.close().await;
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
#[ignore = "is run by a_killed_owner_leaves_nothing_behind"]
async fn owner_of_a_machine() {
    let Ok(server_id) = std::env::var("CLOUD_SIM_TEST_SERVER") else { return };
    let cloud = Cloud::start().await;
    let spec = MachineSpec {
        server_id: server_id.parse().unwrap(),
        name: "demo".into(),
        ipv4: Ipv4Addr::new(203, 0, 113, 7),
        user_data: b"#cloud-config\nruncmd: ['sleep 1000 & touch /finished']\n".to_vec(),
        disk_from: None,
    };
    cloud.machines.power_on(&spec).await.unwrap();
    cloud.wait_for(&spec, "/finished", "").await;
    println!("\nup {}", cloud.dir.path().display());
    std::io::stdout().flush().unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing_behind() {
    let Some(()) = rooted("a_killed_owner_leaves_nothing_behind") else { return };
    let server_id = new_server_id();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_of_a_machine", "--ignored", "--nocapture"])
        .env("CLOUD_SIM_TEST_SERVER", server_id.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = std::io::BufReader::new(owner.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("\nup ") || !text.ends_with('\n') {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "the owner ended: {text}");
        text.push(char::from(byte[0]));
    }
    let dir = PathBuf::from(text.rsplit("up ").next().unwrap().trim());
    let inhabitants = inhabitants(&namespaces(init_of(server_id).expect("the machine runs")));
    let helpers = |dir: &Path| {
        let dir = dir.to_string_lossy().into_owned();
        processes()
            .into_iter()
            .filter(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains("machine-mount") && line.contains(&dir)
            })
            .count()
    };
    assert!(helpers(&dir) >= 1);
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(until(|| !any_lives(&inhabitants) && init_of(server_id).is_none() && helpers(&dir) == 0).await);
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&*dir.to_string_lossy()));
    fs::remove_dir_all(dir).unwrap();
}
