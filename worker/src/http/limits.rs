//! How often one network may come where no token is asked for: Workers' own rate limiting, in front of every open route,
//! of the sign-in form, and behind every credential that is none of ours.
//!
//! The binding counts in each of Cloudflare's places for itself and says yes or no, nothing else: how much is left is
//! told to nobody, because nobody knows. Where it is missing or does not answer, whoever comes is let in, and the log
//! says so: it is a brake, and a machine that cannot enrol because a brake is broken would be lost work. What it cannot
//! spare is the request itself, which the platform counts before we see it.

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::log::{self, Level};
use ebbtide_api::ErrorCode;
use std::net::{IpAddr, Ipv6Addr};
use worker::Env;

/// Name of the binding in `wrangler.toml`, which has the limit.
const BINDING: &str = "OPEN_LIMIT";
/// The period of the limit there, in seconds: after so long there is room again.
const PERIOD_SECS: u32 = 60;

/// Counts a call at a door, which has a limit of its own, and refuses one too many from the same network.
///
/// # Errors
/// `rate_limited`.
pub async fn admit(app: &App, door: &str, address: &str) -> ApiResult<()> {
    let outcome = match app.env.rate_limiter(BINDING) {
        Ok(limiter) => limiter.limit(format!("{door}:{}", network(address))).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(outcome) if !outcome.success => Err(refusal("too many requests came from your address")),
        Ok(_) => Ok(()),
        Err(error) => {
            let fields = [("request.id", app.request_id.as_str()), ("error", &*error.to_string())];
            log::write(Level::Warn, "open routes have no rate limit now", &fields);
            Ok(())
        }
    }
}

/// Whether there is a limit at all.
pub fn is_bound(env: &Env) -> bool {
    env.rate_limiter(BINDING).is_ok()
}

/// Refuses whoever comes too often.
pub fn refusal(message: &str) -> ApiError {
    ApiError::new(ErrorCode::RateLimited, message).header("retry-after", PERIOD_SECS.to_string())
}

/// Whose address it is, as far as that is known: an IPv6 network of 64 bits is one household or one server.
fn network(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).to_string(),
        },
        Ok(IpAddr::V4(_)) | Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_its_network() {
        for (address, wanted) in [
            ("203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::1", "2001:db8:1:2::"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(network(address), wanted, "{address}");
        }
    }
}
