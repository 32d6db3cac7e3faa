//! The command line of a virtual machine: what hardware a provider's server is, as QEMU's arguments. Pure.
//!
//! The guest's one network is QEMU's own (slirp), laid over the link-local network that Hetzner's metadata service has
//! its address in. So that address needs no interface on the host and no root. Beyond it, what the guest opens is opened
//! by this host.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The guest's network; a forward to a program has to lie in it.
const NETWORK: &str = "169.254.169.0/24";
/// Where the guest finds this host's loopback.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 2);
const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 3);
/// The git host; the image's hosts file has its name (`scripts/setup.d/vm-image`).
const GIT_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 5);
/// The guest's own address: the first that DHCP gives.
pub const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 15);
const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Of the small sizes that are for sale: two processors, two gigabytes.
const PROCESSORS: &str = "2";
const MEMORY_MIB: &str = "2048";

/// Where the files of one machine are.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the machine wrote, over the image that it began with.
    pub fn disk(&self) -> PathBuf {
        self.directory.join("disk.qcow2")
    }

    /// The monitor that this program holds.
    pub fn monitor(&self) -> PathBuf {
        self.directory.join("qmp.sock")
    }

    /// A monitor for people and tests: one at a time may connect.
    pub fn second_monitor(&self) -> PathBuf {
        self.directory.join("monitor.sock")
    }

    /// The guest agent of the provider's images, which runs commands as root.
    pub fn guest_agent(&self) -> PathBuf {
        self.directory.join("guest-agent.sock")
    }

    pub fn metadata_service(&self) -> PathBuf {
        self.directory.join("metadata.sock")
    }

    pub fn git_host(&self) -> PathBuf {
        self.directory.join("git.sock")
    }

    /// What the machine says on its serial line, each line with the seconds since it was switched on.
    pub fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// What QEMU itself has to say.
    pub fn emulator_log(&self) -> PathBuf {
        self.directory.join("qemu.log")
    }
}

/// What differs between machines.
#[derive(Debug)]
pub struct Hardware<'a> {
    pub server_id: u64,
    pub files: &'a Files,
    /// Holds `vmlinuz` and `initrd.img`: the guest is started without a boot loader.
    pub image: &'a Path,
    /// The program with the subcommand `machine-bridge`.
    pub bridge: &'a Path,
    /// Further arguments, as they are.
    pub more: &'a [String],
}

/// The address of the machine's network card, as Hetzner numbers public ones.
pub fn mac_address(server_id: u64) -> String {
    let [.., a, b, c] = server_id.to_be_bytes();
    format!("96:00:00:{a:02x}:{b:02x}:{c:02x}")
}

/// The arguments of `qemu-system-x86_64`.
pub fn arguments(hardware: &Hardware<'_>) -> Vec<OsString> {
    let Hardware { server_id, files, image, bridge, more } = hardware;
    let mut all = Arguments::default();
    all.flag("-nodefaults").flag("-no-user-config");
    all.pair("-name", format!("server-{server_id}")).pair("-display", "none");
    // Emulated, never KVM: where a guest cannot use the host's, its kernel hangs in the first second.
    all.pair("-machine", "q35").pair("-accel", "tcg,thread=multi").pair("-cpu", "max");
    all.pair("-smp", PROCESSORS).pair("-m", MEMORY_MIB);
    all.pair("-kernel", image.join("vmlinuz")).pair("-initrd", image.join("initrd.img"));
    all.pair("-append", "root=/dev/vda ro console=ttyS0");
    // What a guest has flushed is in the file once QEMU ends, which it is asked to; so the host need not flush as well.
    all.pair(
        "-drive",
        format!("file={},if=virtio,format=qcow2,cache=unsafe,discard=unmap", escaped(&files.disk())),
    );
    all.pair("-device", "virtio-rng-pci");
    // The data source insists on both: the vendor's name, and a serial number that is the instance's id.
    all.pair("-smbios", format!("type=1,manufacturer=Hetzner,product=vServer,serial={server_id}"));
    all.pair("-netdev", network(files, bridge));
    all.pair(
        "-device",
        format!("virtio-net-pci,netdev=net0,id=nic0,mac={},romfile=", mac_address(*server_id)),
    );
    all.pair("-device", "virtio-serial-pci");
    all.pair("-chardev", socket("agent", &files.guest_agent()));
    all.pair("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0");
    for (id, path) in [("qmp", files.monitor()), ("monitor", files.second_monitor())] {
        all.pair("-chardev", socket(id, &path)).pair("-mon", format!("chardev={id},mode=control"));
    }
    all.pair("-serial", "stdio");
    all.0.extend(more.iter().map(OsString::from));
    all.0
}

fn network(files: &Files, bridge: &Path) -> String {
    let mut text = format!(
        "user,id=net0,ipv6=off,net={NETWORK},host={HOST_ADDRESS},dns={DNS_ADDRESS},dhcpstart={GUEST_ADDRESS}"
    );
    for (address, socket) in [(METADATA_ADDRESS, files.metadata_service()), (GIT_ADDRESS, files.git_host())] {
        // QEMU starts the command for each connection and splits it as a shell would.
        let command = shell_words::join([
            bridge.to_string_lossy().as_ref(),
            "machine-bridge",
            socket.to_string_lossy().as_ref(),
        ]);
        text += &format!(",guestfwd=tcp:{address}:80-cmd:{}", command.replace(',', ",,"));
    }
    text
}

fn socket(id: &str, path: &Path) -> String {
    format!("socket,id={id},path={},server=on,wait=off", escaped(path))
}

/// A path as it stands in a list of options: a comma twice.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.extend([name.into(), value.into()]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(directory: &str, more: &[String]) -> String {
        let hardware = Hardware {
            server_id: 4711,
            files: &Files::new(directory.into()),
            image: Path::new("/cache/vm/bare"),
            bridge: Path::new("/bin/cloud-sim"),
            more,
        };
        let words: Vec<String> =
            arguments(&hardware).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn the_vendor_s_name_and_the_server_s_id_are_where_the_data_source_looks() {
        let line = line("/m/4711", &[]);
        assert!(line.contains("-smbios type=1,manufacturer=Hetzner,product=vServer,serial=4711 "), "{line}");
        assert!(line.contains(",mac=96:00:00:00:12:67,"), "{line}");
        let metadata =
            ",guestfwd=tcp:169.254.169.254:80-cmd:/bin/cloud-sim machine-bridge /m/4711/metadata.sock";
        assert!(line.contains(metadata), "{line}");
    }

    #[test]
    fn every_machine_is_emulated() {
        let line = line("/m/1", &[]);
        assert!(line.contains("-accel tcg,") && !line.contains("kvm"), "{line}");
    }

    #[test]
    fn a_path_stays_one_word_of_one_option() {
        let line = line("/m/a,b c", &[]);
        assert!(line.contains("file=/m/a,,b c/disk.qcow2,if=virtio"), "{line}");
        assert!(line.contains("machine-bridge '/m/a,,b c/git.sock'"), "{line}");
    }

    #[test]
    fn what_a_test_adds_comes_last() {
        let more = ["-smbios".to_owned(), "type=11,value=x".to_owned()];
        assert!(line("/m/1", &more).ends_with("-serial stdio -smbios type=11,value=x"));
    }
}
