//! The real daemon against a small control plane on loopback: boot, bad days, ports, sleep.

mod agents;
mod boot;
mod cloudcli;
mod control;
mod docker;
mod enrolment;
mod flood;
mod house;
mod machine;
mod ports;
#[path = "../backup/server.rs"]
#[allow(dead_code)]
mod repository;
mod rest;
mod secrets;
#[path = "../common/skip.rs"]
mod skip;
mod sleep;
