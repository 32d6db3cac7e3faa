//! What a cloud is set up with: tokens, zone, times, limits. Never persisted.

use super::bucket::Budget;

/// How long the provider's slow work takes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionTimes {
    /// Until a server is built and starts.
    pub create_ms: u64,
    /// From power on to `running`.
    pub start_ms: u64,
    pub poweroff_ms: u64,
    pub reboot_ms: u64,
    /// From a shutdown request to `off`, where the machine obeys.
    pub shutdown_ms: u64,
    pub delete_ms: u64,
    pub image_ms: u64,
    /// Work that is done as soon as it is asked for.
    pub ask_ms: u64,
}

impl ActionTimes {
    /// Local times: a server runs one second after its creation.
    pub const LOCAL: Self = Self {
        create_ms: 400,
        start_ms: 600,
        poweroff_ms: 300,
        reboot_ms: 500,
        shutdown_ms: 1_000,
        delete_ms: 300,
        image_ms: 2_000,
        ask_ms: 50,
    };

    /// Times of the order seen at the vendor.
    pub const REALISTIC: Self = Self {
        create_ms: 8_000,
        start_ms: 7_000,
        poweroff_ms: 3_000,
        reboot_ms: 5_000,
        shutdown_ms: 8_000,
        delete_ms: 4_000,
        image_ms: 90_000,
        ask_ms: 1_000,
    };

    /// The same times, `scale` times quicker.
    pub fn quicker(self, scale: f64) -> Self {
        let quick = |ms: u64| ((ms as f64) / scale.max(0.001)).round() as u64;
        Self {
            create_ms: quick(self.create_ms),
            start_ms: quick(self.start_ms),
            poweroff_ms: quick(self.poweroff_ms),
            reboot_ms: quick(self.reboot_ms),
            shutdown_ms: quick(self.shutdown_ms),
            delete_ms: quick(self.delete_ms),
            image_ms: quick(self.image_ms),
            ask_ms: quick(self.ask_ms),
        }
    }
}

/// Whether time moves the cloud, or only `step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Auto,
    Step,
}

/// What a cloud is set up with; never persisted.
#[derive(Clone)]
pub struct Config {
    pub hetzner_token: String,
    pub cloudflare_token: String,
    /// The one DNS zone.
    pub zone: String,
    pub mode: Mode,
    pub times: ActionTimes,
    pub server_limit: usize,
    pub record_limit: usize,
    pub hetzner_budget: Budget,
    pub cloudflare_budget: Budget,
    /// Whether a server's implicit primary IPs go with it.
    pub implicit_ips_auto_delete: bool,
    /// Images are done when `image_saved` says so, not by the clock.
    pub acknowledge_images: bool,
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hetzner_token: "hetzner-token".to_owned(),
            cloudflare_token: "cloudflare-token".to_owned(),
            zone: "ebb.localhost".to_owned(),
            mode: Mode::Auto,
            times: ActionTimes::LOCAL,
            server_limit: 100,
            record_limit: 200,
            hetzner_budget: Budget { limit: 3_600, window_ms: 3_600_000 },
            cloudflare_budget: Budget { limit: 1_200, window_ms: 300_000 },
            implicit_ips_auto_delete: true,
            acknowledge_images: false,
            seed: 1,
        }
    }
}
