//! The control plane as the machine sees it: who we are to it (`machine_key`, `enrol`), the calls (`api_client`), the
//! line for heartbeats and instructions (`websocket`), and what the next heartbeat says (`status`). Decides nothing.

pub mod api_client;
pub mod enrol;
pub mod machine_key;
pub mod status;
pub mod websocket;
