//! The packet filter, with the real nft, between network namespaces of the test's own: a machine, a container on it behind a
//! port that is published as Docker does it, and a neighbour outside who also plays the metadata service.

#[path = "common/skip.rs"]
mod skip;

use ebbtide_idle_agent::firewall::{Firewall, Ssh};
use rustix::net;
use rustix::process::Uid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_res_uid};
use skip::skip;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the installation serves pages.
const INGRESS: u16 = 8930;
/// What a program of the user's listens on, at all addresses.
const OPEN_BY_MISTAKE: u16 = 8000;
/// Where sshd listens.
const SSH: u16 = 22;
/// What a container has published.
const PUBLISHED: u16 = 6379;
/// How long it takes until somebody who is not answered is taken for shut out; what is let in may take far longer.
const SHUT_OUT: Duration = Duration::from_secs(1);
const LET_IN: Duration = Duration::from_secs(60);
/// A user of the machine's.
const USER: u32 = 1000;

/// A network of its own, as long as a process lives in it.
struct Network(Child);

impl Network {
    fn new() -> Self {
        let child =
            Command::new("unshare").args(["--net", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let network = Self(child);
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let give_up = Instant::now() + LET_IN;
        while std::fs::read_link(network.path()).is_ok_and(|theirs| theirs == ours) {
            assert!(Instant::now() < give_up, "there is no new network");
            std::thread::yield_now();
        }
        network.ip("link set lo up");
        network
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Does something on a thread in this network.
    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.within(|| Command::new(program).args(arguments).output().unwrap());
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn ip(&self, arguments: &str) {
        self.run("ip", &arguments.split(' ').collect::<Vec<_>>());
    }

    fn listen(&self, port: u16) -> TcpListener {
        self.within(|| TcpListener::bind(("::", port)).unwrap())
    }

    fn reaches(&self, address: &str, port: u16, patience: Duration) -> bool {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        self.within(|| TcpStream::connect_timeout(&address, patience).is_ok())
    }

    /// Whether an echo comes back, on IPv4; of IPv6 nothing would work without ICMP.
    fn pings(&self, address: &str) -> bool {
        // An echo request with identifier and number 1; the checksum is that of these bytes.
        const ECHO: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0);
        self.within(|| {
            let socket =
                net::socket(net::AddressFamily::INET, net::SocketType::RAW, Some(net::ipproto::ICMP))
                    .unwrap();
            net::sockopt::set_socket_timeout(&socket, net::sockopt::Timeout::Recv, Some(LET_IN)).unwrap();
            net::sendto(&socket, &ECHO, net::SendFlags::empty(), &address).unwrap();
            let mut heard = [0; 128];
            // Behind the header of IP: an answer to an echo.
            net::recv(&socket, &mut heard, net::RecvFlags::empty()).is_ok() && heard[20] == 0
        })
    }

    /// The same as a user of the machine's, who is not root.
    fn user_reaches(&self, address: &str, port: u16) -> bool {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        self.within(|| {
            let user = Uid::from_raw(USER);
            set_thread_res_uid(user, user, user).unwrap();
            TcpStream::connect_timeout(&address, LET_IN).is_ok()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who there is.
struct Place {
    machine: Network,
    outside: Network,
    container: Network,
    /// As sshd's.
    ssh: TcpListener,
    _listeners: Vec<TcpListener>,
}

const MACHINE: [&str; 2] = ["10.9.0.2", "fd09::2"];
const OUTSIDE: [&str; 2] = ["10.9.0.1", "fd09::1"];
const METADATA: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];
const BRIDGE: &str = "172.17.0.1";
const CONTAINER: &str = "172.17.0.2";

impl Place {
    fn new() -> Self {
        let (machine, outside, container) = (Network::new(), Network::new(), Network::new());
        machine.ip(&format!("link add eth0 type veth peer name eth0 netns {}", outside.0.id()));
        machine.ip(&format!("link add veth0 type veth peer name eth0 netns {}", container.0.id()));
        machine.ip("link add docker0 type bridge");
        machine.ip("link set veth0 master docker0 up");
        for (network, device, address) in [
            (&machine, "eth0", "10.9.0.2/24"),
            (&machine, "eth0", "fd09::2/64"),
            (&machine, "docker0", "172.17.0.1/16"),
            (&outside, "eth0", "10.9.0.1/24"),
            (&outside, "eth0", "fd09::1/64"),
            (&outside, "lo", "169.254.169.254/32"),
            (&outside, "lo", "fd00:ec2::254/128"),
            (&container, "eth0", "172.17.0.2/16"),
        ] {
            // An address of IPv6 would not be used before it is known that nobody else has it.
            let at_once = if address.contains("::") { " nodad" } else { "" };
            network.ip(&format!("addr add {address} dev {device}{at_once}"));
            network.ip(&format!("link set {device} up"));
        }
        machine.ip("route add default via 10.9.0.1");
        machine.ip("-6 route add default via fd09::1");
        container.ip("route add default via 172.17.0.1");
        // Somebody on the same wire may send straight to the container.
        outside.ip("route add 172.17.0.0/16 via 10.9.0.2");
        machine.within(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        let docker = format!(
            "table ip docker {{\n chain pre {{\n type nat hook prerouting priority dstnat;\n fib daddr type local tcp dport {PUBLISHED} dnat to {CONTAINER}\n }}\n \
             chain post {{\n type nat hook postrouting priority srcnat;\n oifname \"eth0\" masquerade\n }}\n }}"
        );
        machine.run("nft", &[&docker]);
        let ssh = machine.listen(SSH);
        let listeners = vec![
            machine.listen(80),
            machine.listen(INGRESS),
            machine.listen(OPEN_BY_MISTAKE),
            container.listen(PUBLISHED),
            outside.listen(80),
        ];
        Self { machine, outside, container, ssh, _listeners: listeners }
    }

    /// What may not be, and is, unless something filters.
    fn openings(&self, patience: Duration) -> Vec<String> {
        let mut open = Vec::new();
        let mut tell = |what: String, is_open: bool| open.extend(is_open.then_some(what));
        for address in MACHINE {
            let reached = self.outside.reaches(address, OPEN_BY_MISTAKE, patience);
            tell(format!("{address}:{OPEN_BY_MISTAKE} from outside"), reached);
        }
        let published = self.outside.reaches(MACHINE[0], PUBLISHED, patience);
        tell(format!("{PUBLISHED}, which a container has published"), published);
        let direct = self.outside.reaches(CONTAINER, PUBLISHED, patience);
        tell(format!("{CONTAINER}:{PUBLISHED} past the machine's own address"), direct);
        for address in METADATA {
            tell(format!("{address} for a user"), self.machine.user_reaches(address, 80));
        }
        tell(
            "the metadata service for a container".to_owned(),
            self.container.reaches(METADATA[0], 80, patience),
        );
        open
    }

    fn lets_ssh_in(&self, patience: Duration) -> [bool; 2] {
        MACHINE.map(|address| self.outside.reaches(address, SSH, patience))
    }

    /// What has to be, filtered or not.
    fn works(&self) {
        for address in MACHINE {
            for port in [80, INGRESS] {
                assert!(self.outside.reaches(address, port, LET_IN), "pages at {address}:{port}");
            }
            assert!(
                self.machine.reaches(address, OPEN_BY_MISTAKE, LET_IN),
                "{address} from the machine itself"
            );
        }
        assert!(self.outside.pings(MACHINE[0]), "an echo");
        assert!(self.machine.reaches("127.0.0.1", OPEN_BY_MISTAKE, LET_IN), "loopback");
        for address in OUTSIDE.into_iter().chain(METADATA) {
            assert!(self.machine.reaches(address, 80, LET_IN), "{address} for root");
        }
        assert!(
            OUTSIDE.iter().all(|address| self.machine.user_reaches(address, 80)),
            "the internet for a user"
        );
        assert!(self.container.reaches(OUTSIDE[0], 80, LET_IN), "the internet for a container");
        assert!(self.container.reaches(BRIDGE, OPEN_BY_MISTAKE, LET_IN), "the machine for its container");
        assert!(self.machine.reaches(CONTAINER, PUBLISHED, LET_IN), "the container for its machine");
    }

    fn tend(&self, firewall: &mut Firewall) -> Option<String> {
        firewall.look_soon();
        self.machine.within(|| firewall.tend())
    }
}

fn firewall(etc: &Path) -> Firewall {
    std::fs::create_dir_all(etc.join("ebbtide")).unwrap();
    Firewall::new(INGRESS, etc)
}

mod as_root {
    use super::*;

    #[test]
    fn pages_alone_come_in_and_the_metadata_service_is_for_root_alone_whoever_flushes_the_rules() {
        if !rustix::process::getuid().is_root() {
            skip("only root can make networks");
            return;
        }
        let place = Place::new();
        let etc = tempfile::tempdir().unwrap();
        let mut firewall = firewall(etc.path());
        place.works();
        assert_eq!(place.openings(LET_IN).len(), 7, "without a filter all of it is open");

        assert_eq!(place.tend(&mut firewall), None);
        place.works();
        assert_eq!(place.openings(SHUT_OUT), [] as [&str; 0]);

        // As `nftables.service` does when it is restarted.
        place.machine.run("nft", &["flush ruleset"]);
        assert!(place.tend(&mut firewall).unwrap().contains("stands again"));
        place.machine.run("nft", &["insert rule inet ebbtide inbound accept"]);
        assert!(place.tend(&mut firewall).unwrap().contains("stands again"));
        assert_eq!(place.tend(&mut firewall), None, "nothing is new");
        assert!(!place.outside.reaches(MACHINE[0], OPEN_BY_MISTAKE, SHUT_OUT));

        // SSH where it is wanted, and nothing else with it.
        assert_eq!(place.lets_ssh_in(SHUT_OUT), [false; 2]);
        firewall.let_ssh(Ssh::Open);
        assert_eq!(place.tend(&mut firewall), None, "it was asked for");
        assert_eq!(place.lets_ssh_in(LET_IN), [true; 2]);
        assert_eq!(place.openings(SHUT_OUT), [] as [&str; 0]);
        assert!(place.machine.reaches("127.0.0.1", SSH, LET_IN));
        // Who is connected when it is closed is heard no more.
        let address = SocketAddr::new(MACHINE[0].parse().unwrap(), SSH);
        let mut client = place.outside.within(|| TcpStream::connect_timeout(&address, LET_IN).unwrap());
        let own = client.local_addr().unwrap().port();
        let mut server =
            std::iter::from_fn(|| place.ssh.accept().ok()).find(|(_, peer)| peer.port() == own).unwrap().0;
        client.write_all(b"1").unwrap();
        server.set_read_timeout(Some(LET_IN)).unwrap();
        let mut heard = [0];
        server.read_exact(&mut heard).unwrap();
        firewall.let_ssh(Ssh::Closed);
        assert_eq!(place.tend(&mut firewall), None);
        client.write_all(b"2").unwrap();
        server.set_read_timeout(Some(SHUT_OUT)).unwrap();
        assert!(server.read_exact(&mut heard).is_err(), "a connection outlived the closing");
        assert_eq!(place.lets_ssh_in(SHUT_OUT), [false; 2]);

        // What a boot loads is what was loaded.
        place.machine.run("nft", &["delete table inet ebbtide"]);
        let file = etc.path().join("ebbtide/firewall.nft");
        place.machine.run("nft", &["--file", file.to_str().unwrap()]);
        assert_eq!(place.tend(&mut firewall), None, "it finds its own rules");
    }
}

#[test]
fn rules_that_cannot_be_loaded_are_told_once() {
    // Where no file can be, so that nothing is ever loaded on the machine that tests.
    let mut firewall = Firewall::new(INGRESS, Path::new("/dev/null"));
    let told = firewall.tend().unwrap();
    assert!(told.contains("does not stand") && told.contains("ebbtide"), "{told}");
    firewall.look_soon();
    assert_eq!(firewall.tend(), None);
}
