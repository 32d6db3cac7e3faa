//! Where a repository's host is: looked up once before git connects, and held to that answer.
//!
//! The control plane refuses private *addresses* when a workspace is asked for; where a *name* leads shows only here. A
//! name that leads to the machine itself or to a private network is refused. Over http and https git is told the
//! addresses that were looked at, so that a name which answers otherwise the second time leads nowhere else. Where a
//! redirect leads is git's; the provider's metadata service is closed by the packet filter in any case.

use ebbtide_vm_init::public_address::is_public;
use std::net::{IpAddr, ToSocketAddrs as _};
use url::{Host, Url};

/// Why git is not let to connect.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is none that a machine on the internet reaches others by.
    #[error(
        "the repository's host {host} leads to {address}, which is no address on the internet; check the URL, or push the \
         repository to a host that has one"
    )]
    Private {
        /// The host in the URL.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// It has no address.
    #[error(
        "the repository's host {host} cannot be reached ({said}); check the URL and whether the host is up"
    )]
    Unknown {
        /// The host in the URL.
        host: String,
        /// What the system said.
        said: String,
    },
    /// It is no URL of a host that git reaches by http, https or ssh.
    #[error("only http, https and ssh URLs with a host are fetched from; this is none")]
    Protocol,
}

/// Which hosts this machine may clone from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those on the internet.
    Internet,
    /// All: the control plane itself is on a private network, such as that of a laptop.
    PrivateNetwork,
}

impl Reach {
    /// What is due beside a control plane at this URL.
    pub fn beside(control_url: &str) -> Self {
        let addresses = Place::of(control_url).and_then(|place| place.look_up().ok()).unwrap_or_default();
        let is_private = !addresses.is_empty() && !addresses.iter().any(|address| is_public(*address));
        if is_private { Self::PrivateNetwork } else { Self::Internet }
    }
}

/// Looks a repository's host up. Answers with git's arguments that hold it to that.
///
/// # Errors
/// [`HostError`].
pub fn pin(url: &str, reach: Reach) -> Result<Vec<String>, HostError> {
    let (Some(place), Reach::Internet) = (Place::of(url), reach) else {
        // What is no URL of a host is refused by git's list of protocols.
        return Ok(Vec::new());
    };
    let found =
        place.look_up().map_err(|said| HostError::Unknown { host: place.name(), said: said.to_string() })?;
    let public = public_of(&place, &found)?;
    Ok(if place.is_web && matches!(place.host, Host::Domain(_)) {
        vec!["-c".to_owned(), place.curl_option(&public)]
    } else {
        Vec::new()
    })
}

/// The same for a URL that a repository names and nobody has looked at: what cannot be read as one of a host is refused,
/// and nothing is left to git's own list.
///
/// # Errors
/// [`HostError`].
pub fn pin_named(url: &str, reach: Reach) -> Result<Vec<String>, HostError> {
    let is_spoken = match url.split_once("://") {
        Some((scheme, _)) => ["http", "https", "ssh"].contains(&scheme),
        None => !url.starts_with('-') && !url.contains("::"),
    };
    let place = Place::of(url).filter(|place| !place.name().starts_with('-'));
    if !is_spoken || place.is_none() {
        return Err(HostError::Protocol);
    }
    pin(url, reach)
}

fn public_of(place: &Place, found: &[IpAddr]) -> Result<Vec<IpAddr>, HostError> {
    let public: Vec<IpAddr> = found.iter().copied().filter(|address| is_public(*address)).collect();
    match found.first() {
        Some(address) if public.is_empty() => {
            Err(HostError::Private { host: place.name(), address: *address })
        }
        Some(_) => Ok(public),
        None => Err(HostError::Unknown { host: place.name(), said: "it has no address".to_owned() }),
    }
}

/// A host and port that git connects to.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    host: Host<String>,
    port: u16,
    is_web: bool,
}

impl Place {
    /// Of a URL, or of ssh's short form `user@host:path`.
    fn of(text: &str) -> Option<Self> {
        if text.contains("://") {
            let url = Url::parse(text).ok()?;
            let is_web = matches!(url.scheme(), "http" | "https");
            let port = url.port_or_known_default().or((url.scheme() == "ssh").then_some(22))?;
            // Of schemes that the library does not know it leaves addresses as text.
            let host = Host::parse(url.host_str()?).ok()?;
            return Some(Self { host, port, is_web });
        }
        let (_, rest) = text.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        Some(Self { host: Host::parse(host).ok()?, port: 22, is_web: false })
    }

    fn name(&self) -> String {
        self.host.to_string()
    }

    fn look_up(&self) -> std::io::Result<Vec<IpAddr>> {
        match &self.host {
            Host::Ipv4(address) => Ok(vec![(*address).into()]),
            Host::Ipv6(address) => Ok(vec![(*address).into()]),
            Host::Domain(name) => {
                let found = (name.as_str(), self.port).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            }
        }
    }

    /// The setting by which git's curl asks nobody for the addresses of this name.
    fn curl_option(&self, addresses: &[IpAddr]) -> String {
        let addresses: Vec<String> = addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            })
            .collect();
        format!("http.curloptResolve={}:{}:{}", self.host, self.port, addresses.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::process::Command;

    #[test]
    fn a_name_or_address_that_leads_to_this_machine_is_refused() {
        let urls = [
            "http://localhost/a.git",
            "https://LOCALHOST:8443/a.git",
            "ssh://git@localhost/a.git",
            "git@localhost:a.git",
            "http://127.0.0.1/a.git",
            "http://0x7f.1/a.git",
            "http://[::ffff:10.0.0.1]/a.git",
            "ssh://git@[fe80::1]/a.git",
            "ssh://git@169.254.169.254/a.git",
            "git@0xa9fea9fe:a.git",
        ];
        for url in urls {
            let refused = pin(url, Reach::Internet);
            assert!(matches!(refused, Err(HostError::Private { .. })), "{url}: {refused:?}");
            assert_eq!(pin(url, Reach::PrivateNetwork), Ok(vec![]), "{url}");
        }
    }

    #[test]
    fn what_a_repository_names_has_to_be_a_url_of_a_host() {
        let none = [
            "",
            "/etc",
            "./a.git",
            "../../a",
            "file:///etc",
            "ext::sh -c id",
            "git://140.82.121.4/a.git",
            "HTTP::https://a/b",
            "-oProxyCommand=id@h:a",
            "10.0.0.1:a.git",
            "git@[::1]:a.git",
            "ssh://-oProxyCommand=id/a",
        ];
        for url in none {
            for reach in [Reach::Internet, Reach::PrivateNetwork] {
                assert!(pin_named(url, reach).is_err(), "{url}");
            }
        }
        for url in ["https://140.82.121.4/a.git", "git@140.82.121.4:a.git", "ssh://git@140.82.121.4/a"] {
            assert_eq!(pin_named(url, Reach::Internet), Ok(vec![]), "{url}");
        }
        assert!(matches!(pin_named("git@10.0.0.1:a", Reach::Internet), Err(HostError::Private { .. })));
    }

    #[test]
    fn a_name_without_an_address_may_come_and_an_address_needs_no_pin() {
        let unknown = pin("http://no-such-host.invalid/a.git", Reach::Internet);
        assert!(matches!(unknown, Err(HostError::Unknown { .. })), "{unknown:?}");
        for url in ["https://140.82.121.4/a.git", "git@140.82.121.4:a.git", "file:///etc", "ext::sh -c id"] {
            assert_eq!(pin(url, Reach::Internet), Ok(vec![]), "{url}");
        }
    }

    #[test]
    fn of_several_addresses_the_public_ones_are_pinned() {
        let place = Place::of("https://Example.com/a.git").unwrap();
        let found: Vec<IpAddr> =
            ["10.0.0.1", "93.184.215.14", "2606:50c0:8000::153"].map(|one| one.parse().unwrap()).into();
        let public = public_of(&place, &found).unwrap();
        assert_eq!(
            place.curl_option(&public),
            "http.curloptResolve=example.com:443:93.184.215.14,[2606:50c0:8000::153]"
        );
        assert!(matches!(public_of(&place, &found[..1]), Err(HostError::Private { .. })));
        assert!(matches!(public_of(&place, &[]), Err(HostError::Unknown { .. })));
    }

    #[test]
    fn a_control_plane_on_a_private_network_has_its_repositories_there() {
        for url in ["http://127.0.0.1:8787", "http://169.254.169.2:80", "http://localhost:8787"] {
            assert_eq!(Reach::beside(url), Reach::PrivateNetwork, "{url}");
        }
        for url in ["https://140.82.121.4", "https://no-such-host.invalid", "nonsense"] {
            assert_eq!(Reach::beside(url), Reach::Internet, "{url}");
        }
    }

    #[test]
    fn git_connects_to_the_address_that_was_looked_at() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://pinned.invalid:{port}/a.git");
        let option = Place::of(&url).unwrap().curl_option(&["127.0.0.1".parse().unwrap()]);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
            let lines: Vec<String> = BufReader::new(stream)
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            lines
        });
        let ended = Command::new("git").args(["-c", &option, "ls-remote", &url]).output().unwrap();
        // Whoever is not led there ends the wait.
        if !String::from_utf8_lossy(&ended.stderr).contains("not found") {
            let _ = std::net::TcpStream::connect(("127.0.0.1", port));
        }
        let asked = server.join().unwrap();
        assert!(asked.contains(&format!("Host: pinned.invalid:{port}")), "{asked:?} {ended:?}");
    }
}
