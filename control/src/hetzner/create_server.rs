//! `POST /servers`: the one call that starts to cost money.
//!
//! There is no idempotency key: the unique name is it. After [`CreateServer::NameTaken`] and after a failure that
//! may have landed, the caller looks for the labels and adopts. Running out of capacity is a value, not an error.

use super::{
    Action, Answer, Failure, FirewallId, Hetzner, ImageId, Labels, Reply, Server, SshKeyId, VendorError,
    decode,
};
use crate::http::{Http, Method};
use crate::secret::SecretText;
use serde::{Deserialize, Serialize};

/// A server to create.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// Unique in the project; the idempotency key.
    pub name: String,
    pub server_type: String,
    pub image: ImageRef,
    /// The provider chooses where it is absent.
    pub location: Option<String>,
    /// Without one the provider makes a root password and mails it.
    pub ssh_keys: Vec<SshKeyId>,
    pub firewalls: Vec<FirewallId>,
    pub labels: Labels,
    /// At most 32 KiB, checked where it is rendered.
    pub user_data: SecretText,
    pub public_net: PublicNet,
}

/// What a server's disk starts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRef {
    /// One of the provider's own, such as `ubuntu-24.04`.
    Named(String),
    /// A snapshot of ours.
    Id(ImageId),
}

/// The public addresses of a server. IPv4 is billed; many hosts cannot be reached without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicNet {
    V4AndV6,
    V4Only,
    V6Only,
}

/// What came of creating a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one value at a time, matched at once")]
pub enum CreateServer {
    /// It exists, and starts when its action is done.
    Created { server: Server, action: Option<Action> },
    /// A server of that name exists: look for the labels and adopt it.
    NameTaken(VendorError),
    /// Not here and not now; another size or location may do.
    Capacity { kind: CapacityKind, error: VendorError },
    /// The project may not have more of something; `error.limits` says of what.
    LimitExceeded(VendorError),
    /// The request is wrong as it stands; `error.fields` says where.
    Invalid(VendorError),
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapacityKind {
    /// Sold out, or the location is closed for new servers.
    SoldOut,
    /// This size is not offered at this location.
    UnsupportedLocation,
    /// No host fits the placement.
    Placement,
}

impl<H: Http> Hetzner<H> {
    /// Creates a server. Not safe to repeat without looking.
    pub async fn create_server(&self, spec: &ServerSpec) -> Answer<CreateServer> {
        let request = self.request(Method::Post, "/servers").json(&Body::of(spec));
        self.call(request).await.and_then(|reply| match reply {
            Reply::Done(body) => {
                let Created { server, action } = decode(&body)?;
                Ok(CreateServer::Created { server, action })
            }
            Reply::Refused(error) => classify(error),
        })
    }
}

fn classify(error: VendorError) -> Result<CreateServer, Failure> {
    if let Some(kind) = capacity_kind(&error) {
        return Ok(CreateServer::Capacity { kind, error });
    }
    match error.code.as_str() {
        "uniqueness_error" if error.fields.iter().all(|field| field.name == "name") => {
            Ok(CreateServer::NameTaken(error))
        }
        "resource_limit_exceeded" | "server_limit_exceeded" => Ok(CreateServer::LimitExceeded(error)),
        // A size, image, location or key that does not exist answers 404 or 422.
        "not_found" | "invalid_input" | "uniqueness_error" | "unsupported_error" | "json_error" => {
            Ok(CreateServer::Invalid(error))
        }
        _ => Err(Failure::Refused(error)),
    }
}

/// A shortage comes as `resource_unavailable`, as `placement_error`, and as `invalid_input` whose message says
/// "unsupported location for server type": the one place where a text has to be read, for want of a code.
fn capacity_kind(error: &VendorError) -> Option<CapacityKind> {
    let says_unsupported = || {
        let in_fields = error.fields.iter().flat_map(|field| &field.messages);
        std::iter::once(&error.message)
            .chain(in_fields)
            .any(|text| text.to_ascii_lowercase().contains("unsupported location"))
    };
    match error.code.as_str() {
        "placement_error" => Some(CapacityKind::Placement),
        "invalid_input" | "resource_unavailable" | "unsupported_error" if says_unsupported() => {
            Some(CapacityKind::UnsupportedLocation)
        }
        "resource_unavailable" => Some(CapacityKind::SoldOut),
        _ if error.status == 412 => Some(CapacityKind::SoldOut),
        _ => None,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    name: &'a str,
    server_type: &'a str,
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ssh_keys: &'a [SshKeyId],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    firewalls: Vec<BodyFirewall>,
    labels: &'a Labels,
    user_data: &'a str,
    public_net: BodyPublicNet,
    start_after_create: bool,
}

#[derive(Serialize)]
struct BodyFirewall {
    firewall: FirewallId,
}

#[derive(Serialize)]
struct BodyPublicNet {
    enable_ipv4: bool,
    enable_ipv6: bool,
}

impl<'a> Body<'a> {
    fn of(spec: &'a ServerSpec) -> Self {
        let (enable_ipv4, enable_ipv6) = match spec.public_net {
            PublicNet::V4AndV6 => (true, true),
            PublicNet::V4Only => (true, false),
            PublicNet::V6Only => (false, true),
        };
        Self {
            name: &spec.name,
            server_type: &spec.server_type,
            image: match &spec.image {
                ImageRef::Named(name) => name.clone(),
                ImageRef::Id(id) => id.to_string(),
            },
            location: spec.location.as_deref(),
            ssh_keys: &spec.ssh_keys,
            firewalls: spec.firewalls.iter().map(|id| BodyFirewall { firewall: *id }).collect(),
            labels: &spec.labels,
            user_data: spec.user_data.expose(),
            public_net: BodyPublicNet { enable_ipv4, enable_ipv6 },
            start_after_create: true,
        }
    }
}

/// The answer; a root password in it is left unread.
#[derive(Deserialize)]
struct Created {
    server: Server,
    action: Option<Action>,
}
