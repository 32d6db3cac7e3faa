//! The edge over real sockets: every request goes to the machine its host resolves to, and upgrades pass through.
//! The machines behind it are plain listeners of this test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ebbtide_cloud_sim::edge;
use ebbtide_cloud_sim::machines::{
    MachineError, MachineEvent, MachineFault, MachineSpec, Machines, NoMachines, Usage,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

/// Machines that are listeners on loopback.
struct Listeners {
    at: BTreeMap<u64, SocketAddr>,
    nothing: NoMachines,
}

#[async_trait]
impl Machines for Listeners {
    async fn connect(&self, server_id: u64, port: u16) -> Result<TcpStream, MachineError> {
        assert_eq!(port, 80);
        let address = self.at.get(&server_id).ok_or(MachineError::NotOn(server_id))?;
        TcpStream::connect(address).await.map_err(|source| MachineError::Refused { server_id, port, source })
    }

    async fn power_on(&self, spec: &MachineSpec) -> Result<(), MachineError> {
        self.nothing.power_on(spec).await
    }
    async fn power_off(&self, server_id: u64) -> Result<(), MachineError> {
        self.nothing.power_off(server_id).await
    }
    async fn destroy(&self, server_id: u64) -> Result<(), MachineError> {
        self.nothing.destroy(server_id).await
    }
    async fn save_image(&self, server_id: u64, image_id: u64) -> Result<(), MachineError> {
        self.nothing.save_image(server_id, image_id).await
    }
    async fn delete_image(&self, image_id: u64) -> Result<(), MachineError> {
        self.nothing.delete_image(image_id).await
    }
    async fn fault(&self, server_id: u64, fault: MachineFault) -> Result<(), MachineError> {
        self.nothing.fault(server_id, fault).await
    }
    async fn usage(&self, server_id: u64) -> Option<Usage> {
        self.nothing.usage(server_id).await
    }
    async fn list(&self) -> Vec<u64> {
        self.nothing.list().await
    }
    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.nothing.events()
    }
    async fn close(&self) {
        self.nothing.close().await;
    }
}

/// A machine that answers with its name and what it was asked, and echoes after an upgrade.
async fn machine(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(name, stream));
        }
    });
    address
}

async fn converse(name: &str, stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head += &line;
        }
        if head.to_ascii_lowercase().contains("\r\nupgrade: echo") {
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            return;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let text = format!("{name} got\n{head}{}", String::from_utf8_lossy(&body));
        let answer =
            format!("HTTP/1.1 200 OK\r\nX-Machine: {name}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn start() -> SocketAddr {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let at = BTreeMap::from([(1, machine("one").await), (2, machine("two").await), (3, closed)]);
    let machines = Arc::new(Listeners { at, nothing: NoMachines::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let resolver: edge::Resolver = Arc::new(|host| match host {
        "one.ebb.localhost" => Some(1),
        "two.ebb.localhost" => Some(2),
        "down.ebb.localhost" => Some(3),
        "off.ebb.localhost" => Some(4),
        _ => None,
    });
    tokio::spawn(edge::serve(listener, resolver, machines));
    address
}

/// Sends a request on an open connection and reads one answer: head and body.
async fn ask(client: &mut BufReader<TcpStream>, request: &str) -> (String, String) {
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        assert_ne!(client.read_line(&mut line).await.unwrap(), 0, "the edge closed the connection");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn each_request_of_a_connection_goes_where_its_own_host_resolves_to() {
    let mut client = BufReader::new(TcpStream::connect(start().await).await.unwrap());
    let (head, body) = ask(&mut client, "GET /a?b=c HTTP/1.1\r\nHost: one.ebb.localhost:8080\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("X-Machine: one"), "{head}");
    assert!(body.starts_with("one got\nGET /a?b=c HTTP/1.1\r\n"), "{body}");
    assert!(body.contains("Host: one.ebb.localhost:8080\r\n"), "the host is passed on as it came: {body}");

    let post =
        "POST / HTTP/1.1\r\nHost: TWO.ebb.localhost\r\nContent-Length: 5\r\nX-Odd-Case: yes\r\n\r\nhello";
    let (_, body) = ask(&mut client, post).await;
    assert!(body.starts_with("two got\nPOST / HTTP/1.1\r\n") && body.ends_with("hello"), "{body}");
    assert!(body.contains("X-Odd-Case: yes"), "{body}");

    let (head, body) = ask(&mut client, "GET / HTTP/1.1\r\nHost: none.ebb.localhost\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(body.contains("none.ebb.localhost does not resolve"), "{body}");
    for host in ["down", "off"] {
        let (head, body) =
            ask(&mut client, &format!("GET / HTTP/1.1\r\nHost: {host}.ebb.localhost\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert!(body.contains("resolves, but its machine does not answer"), "{body}");
    }
    let (_, body) = ask(&mut client, "GET / HTTP/1.1\r\nHost: one.ebb.localhost\r\n\r\n").await;
    assert!(body.starts_with("one got"), "{body}");
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways_until_one_side_ends_it() {
    let mut client = BufReader::new(TcpStream::connect(start().await).await.unwrap());
    let upgrade = "GET /ws HTTP/1.1\r\nHost: two.ebb.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";
    let (head, _) = ask(&mut client, upgrade).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.to_ascii_lowercase().contains("upgrade: echo"), "{head}");
    for _ in 0..3 {
        client.write_all(b"ping\n").await.unwrap();
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        assert_eq!(line, "ping\n");
    }
    client.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0);
}
