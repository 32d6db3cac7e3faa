//! Ports found and let through to, by the real Caddy: who comes in, what the app sees, how soon.

use crate::house::{ALONE, App, heard_port, house};
use crate::machine::wait_until;
use crate::skip::skip;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

#[test]
fn a_port_is_private_its_credential_stays_outside_and_the_app_sees_localhost() {
    let Some(house) = house() else { return };
    let app = App::start("127.0.0.1:0");
    heard_port(&house.machine.control, app.port);
    let port = app.port;
    let token = house.token(port);

    let nobody = house.ask(port, "GET /", "");
    assert_eq!(nobody.status, 401);
    assert!(nobody.body.contains("dashboard"), "{}", nobody.body);
    assert_eq!(house.ask(port, "GET /", &format!("X-Ebbtide-Access: {}\r\n", house.token(1))).status, 403);

    let navigation = "Sec-Fetch-Mode: navigate\r\nAccept: text/html\r\n";
    let enter = house.ask(port, &format!("GET /a%20b//c?x=1&ebb_access={token}"), navigation);
    assert_eq!(enter.status, 303, "{}", enter.head);
    assert!(enter.head.contains("Location: /a%20b//c?x=1"), "{}", enter.head);
    assert!(enter.head.contains(&format!("Set-Cookie: ebb_access={token}; Max-Age=")), "{}", enter.head);

    let seen = house.ask(port, "GET /a%20b//c?x=1%2F2", &format!("Cookie: z=1; ebb_access={token}; b=2\r\n"));
    assert_eq!(seen.status, 200);
    assert!(seen.body.starts_with("GET /a%20b//c?x=1%2F2 HTTP/1.1\r\n"), "{}", seen.body);
    assert!(seen.body.contains(&format!("Host: localhost:{port}\r\n")), "{}", seen.body);
    assert!(seen.body.contains("Cookie: z=1; b=2\r\n"), "{}", seen.body);
    assert!(seen.head.contains("Set-Cookie: a=1; Path=/"), "{}", seen.head);

    let origin = format!("Origin: http://{}\r\n", house.host(port));
    let posted = house.ask(
        port,
        &format!("POST /p?ebb_access={token}&y=1"),
        &format!("{origin}X-Ebb-Upstream: evil\r\nForwarded: host=evil.example\r\nX-Forwarded-Port: 80\r\n"),
    );
    assert!(posted.body.starts_with("POST /p?y=1 HTTP/1.1\r\n"), "{}", posted.body);
    assert!(posted.body.contains(&format!("Origin: http://localhost:{port}\r\n")), "{}", posted.body);
    for other_name in
        ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "Forwarded:", "evil.example"]
    {
        assert!(
            !posted.body.contains(other_name),
            "{other_name} tells another story than Host:\n{}",
            posted.body
        );
    }
    for part in [posted.body, seen.body] {
        assert!(!part.contains(&token), "{part}");
    }
    let foreign = "Origin: http://evil.example\r\n";
    let signed = format!("X-Ebbtide-Access: {token}\r\n");
    assert_eq!(house.ask(port, "POST /", &format!("{signed}{foreign}")).status, 403);
    let read = house.ask(port, "GET /", &format!("{signed}{foreign}"));
    assert!(
        read.body.contains("Origin: http://evil.example\r\n") && !read.body.contains("X-Ebbtide-Access"),
        "{}",
        read.body
    );
    app.end();
}

#[test]
fn no_cookie_is_set_for_other_workspaces_however_its_domain_is_written() {
    let Some(house) = house() else { return };
    let app = App::start("127.0.0.1:0");
    heard_port(&house.machine.control, app.port);
    let signed = format!("X-Ebbtide-Access: {}\r\n", house.token(app.port));
    let answer = house.ask(app.port, "GET /cookies", &signed);
    let cookies: Vec<_> = answer.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")).collect();
    let expected = ["a=1; Path=/", "b=2; Path=/b", "c=3", "d=4;;Domain;;HttpOnly", "Domain=5;", "f=6"];
    assert_eq!(cookies, expected);
    app.end();
}

#[test]
fn a_redirect_to_localhost_leads_to_the_name_that_the_browser_knows() {
    let Some(house) = house() else { return };
    let app = App::start("127.0.0.1:0");
    heard_port(&house.machine.control, app.port);
    let signed = format!("X-Ebbtide-Access: {}\r\n", house.token(app.port));
    let table = [
        (
            format!("http://localhost:{}/login?a=b", app.port),
            format!("http://{}/login?a=b", house.host(app.port)),
        ),
        ("http://127.0.0.1:8000/api".to_owned(), format!("http://{}/api", house.host(8000))),
        ("/login".to_owned(), "/login".to_owned()),
        (
            "https://example.com/?u=http://localhost:3000/".to_owned(),
            "https://example.com/?u=http://localhost:3000/".to_owned(),
        ),
    ];
    for (said, expected) in table {
        let answer = house.ask(app.port, &format!("GET /?go={said}"), &signed);
        assert!(answer.head.contains(&format!("\r\nLocation: {expected}\r\n")), "{said}: {}", answer.head);
    }
    app.end();
}

#[test]
fn websockets_and_events_pass_and_stay_while_other_ports_come_and_go() {
    let Some(house) = house() else { return };
    let app = App::start("127.0.0.1:0");
    heard_port(&house.machine.control, app.port);
    let mut request = format!("ws://{}/hmr", house.host(app.port)).into_client_request().unwrap();
    let own = format!("http://{}", house.host(app.port));
    request.headers_mut().insert("origin", own.parse().unwrap());
    let connect = |request: tungstenite::handshake::client::Request| {
        let stream = TcpStream::connect(("127.0.0.1", house.machine.listen_port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tungstenite::client(request, stream).ok()
    };
    assert!(connect(request.clone()).is_none(), "no credential");
    let cookie = format!("ebb_access={}", house.token(app.port));
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let (mut socket, answer) = connect(request).unwrap();
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["w=1; Path=/"], "what comes with a handshake is a cookie too");
    let mut for_all = format!("ws://{}/for-all", house.host(app.port)).into_client_request().unwrap();
    for_all.headers_mut().insert("cookie", cookie.parse().unwrap());
    assert!(connect(for_all).is_none(), "and one for other workspaces is refused");
    let mut echo = |text: &str| {
        socket.send(Message::text(text)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(text));
    };
    echo("one");

    let other = App::start("127.0.0.1:0");
    heard_port(&house.machine.control, other.port);
    let gone = other.port;
    other.end();
    house.machine.control.heard("its end", |heartbeat| heartbeat.ports.iter().all(|one| one.port != gone));
    echo("two");

    let mut stream = TcpStream::connect(("127.0.0.1", house.machine.listen_port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\r\n", house.host(app.port))
        .unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.contains("data: first") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the first event came before the end");
    }
    app.end();
}

#[test]
fn a_websocket_ends_when_its_port_is_closed_and_one_to_another_port_stays() {
    let Some(house) = house() else { return };
    let (public, other) = (App::start("127.0.0.1:0"), App::start("127.0.0.1:0"));
    heard_port(&house.machine.control, public.port);
    heard_port(&house.machine.control, other.port);
    house.machine.control.instruct(|instruction| instruction.public_ports = vec![public.port]);
    wait_until("it is public", || house.ask(public.port, "GET /", "").status == 200);
    let connect = |port: u16| {
        let mut request = format!("ws://{}/hmr", house.host(port)).into_client_request().unwrap();
        if port != public.port {
            let cookie = format!("ebb_access={}", house.token(port));
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
        }
        let stream = TcpStream::connect(("127.0.0.1", house.machine.listen_port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tungstenite::client(request, stream).unwrap().0
    };
    let (mut left, mut stays) = (connect(public.port), connect(other.port));
    for socket in [&mut left, &mut stays] {
        socket.send(Message::text("one")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("one"));
    }
    house.machine.control.instruct(|instruction| instruction.public_ports = vec![]);
    let end = left.read();
    let waited_in_vain =
        matches!(&end, Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(end.is_err() && !waited_in_vain, "{end:?}");
    stays.send(Message::text("two")).unwrap();
    assert_eq!(stays.read().unwrap(), Message::text("two"));
    public.end();
    other.end();
}

#[test]
fn public_ports_are_open_and_closed_and_reserved_ones_are_not_there() {
    let Some(house) = house() else { return };
    let app = App::start("[::1]:0");
    heard_port(&house.machine.control, app.port);
    assert_eq!(house.ask(app.port, "GET /", "").status, 401);
    house.machine.control.instruct(|instruction| instruction.public_ports = vec![app.port]);
    wait_until("it is public", || house.ask(app.port, "GET /", "").status == 200);
    house.machine.control.instruct(|instruction| instruction.public_ports = vec![]);
    wait_until("it is private", || house.ask(app.port, "GET /", "").status == 401);
    let port = app.port;
    app.end();
    wait_until("it is gone", || house.ask_signed(port) == 404);
    assert_eq!(house.ask_signed(house.machine.listen_port), 404);
    let listed = house.machine.control.state().heartbeats.last().unwrap().ports.clone();
    assert!(listed.iter().all(|one| one.port != house.machine.listen_port), "{listed:?}");
}

#[test]
fn a_port_that_speaks_something_else_is_named_and_not_let_through() {
    let Some(house) = house() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"-ERR unknown command\r\n");
        }
    });
    let heartbeat = house
        .machine
        .control
        .heard("the port", |heartbeat| heartbeat.ports.iter().any(|one| one.port == port));
    let found = heartbeat.ports.iter().find(|one| one.port == port).unwrap();
    assert!(!found.http && found.url.is_none());
    assert_eq!(house.ask_signed(port), 404);
}

/// A server that speaks HTTP/1.1 within TLS alone: it answers with what it was sent, and echoes on a WebSocket.
fn tls_app() -> u16 {
    let files = tempfile::tempdir().unwrap();
    let (key, certificate) = (files.path().join("key.pem"), files.path().join("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", "/CN=nobody.example", "-days", "2", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(&certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || serve_tls(rustls::StreamOwned::new(connection, stream)));
        }
    });
    port
}

fn serve_tls(mut stream: rustls::StreamOwned<rustls::ServerConnection, TcpStream>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        // Plain words end here, with an alert.
        let Ok(1) = stream.read(&mut byte) else { return };
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-Websocket-Key: "));
    let Some(key) = key else {
        let length = head.len();
        let go = "Location: https://localhost:9/login\r\nConnection: close";
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{go}\r\n\r\n{head}");
        let _ = stream.flush();
        return;
    };
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket";
    write!(stream, "{upgrade}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").unwrap();
    stream.flush().unwrap();
    let mut socket =
        tungstenite::WebSocket::from_raw_socket(stream, tungstenite::protocol::Role::Server, None);
    while let Ok(message) = socket.read() {
        if message.is_text() && socket.send(message).is_err() {
            return;
        }
    }
}

#[test]
fn a_server_that_speaks_tls_is_found_and_let_through_to_with_websockets() {
    let Some(house) = house() else { return };
    let port = tls_app();
    let heartbeat = house
        .machine
        .control
        .heard("the port", |heartbeat| heartbeat.ports.iter().any(|one| one.port == port && one.http));
    assert!(heartbeat.ports.iter().any(|one| one.port == port && one.https), "{:?}", heartbeat.ports);
    assert_eq!(house.ask(port, "GET /", "").status, 401, "it is as private as others");

    let signed = format!("X-Ebbtide-Access: {}\r\n", house.token(port));
    let own = format!("Origin: http://{}\r\n", house.host(port));
    let seen = house.ask(port, "POST /a?b=c", &format!("{signed}{own}"));
    assert_eq!(seen.status, 200, "{}", seen.body);
    assert!(seen.body.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{}", seen.body);
    assert!(seen.body.contains(&format!("Host: localhost:{port}\r\n")), "{}", seen.body);
    assert!(seen.body.contains(&format!("Origin: https://localhost:{port}\r\n")), "{}", seen.body);
    let moved = format!("\r\nLocation: http://{}/login\r\n", house.host(9));
    assert!(seen.head.contains(&moved), "{}", seen.head);

    let mut request = format!("ws://{}/hmr", house.host(port)).into_client_request().unwrap();
    let cookie = format!("ebb_access={}", house.token(port));
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", house.machine.listen_port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    socket.send(Message::text("one")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("one"));
}

#[test]
fn a_debugger_that_waits_for_its_first_client_is_named_and_never_connected_to() {
    use std::os::unix::process::CommandExt as _;
    let mut machine = crate::machine::Machine::new(|_| vec![]);
    machine.boot();
    // A program of that name holds the socket and takes nobody in: who has connected stays to be seen.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let mut debugger = std::process::Command::new("sleep").arg0("dlv").arg("600").spawn().unwrap();
    drop(listener);
    let named = |heartbeat: &ebbtide_api::vm::Heartbeat| {
        heartbeat.ports.iter().any(|one| one.port == port && one.process == "dlv" && !one.http)
    };
    machine.control.heard("the port", named);
    machine.control.state().heartbeats.clear();
    machine.control.wait_for("more heartbeats", |state| (state.heartbeats.len() > 1).then_some(()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let connected = table.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // 0A is the listener itself.
        fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) != Some("0A")
    });
    assert_eq!(connected.count(), 0, "{table}");
    debugger.kill().unwrap();
    debugger.wait().unwrap();
}

mod as_root {
    use super::*;

    #[test]
    fn what_faces_the_internet_is_nobody_and_may_only_bind_low_ports() {
        let Some(house) = house() else { return };
        if house.machine.uid < 1_000_000 {
            skip("only root can give its rights up");
            return;
        }
        let pid = std::fs::read_to_string(house.machine.path("run/caddy.pid")).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(line("Uid:").iter().chain(&line("Gid:")).all(|id| id == "60578"), "{status}");
        assert!(line("Groups:").is_empty(), "{status}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(line(set), ["0000000000000400"], "{set} holds more than binding low ports");
        }
        assert_eq!(line("NoNewPrivs:"), ["1"]);
    }
}

#[test]
fn caddy_outlives_the_agent_and_is_started_again_when_it_ends() {
    let Some(mut house) = house() else { return };
    let app = App::start("127.0.0.1:0");
    wait_until("it answers", || house.ask_signed(app.port) == 200);
    let pid_file = house.machine.path("run/caddy.pid");
    let pid = || std::fs::read_to_string(&pid_file).unwrap();
    let first = pid();
    house.machine.kill();
    house.machine.control.state().heartbeats.clear();
    house.machine.boot();
    wait_until("it answers again", || house.ask_signed(app.port) == 200);
    assert_eq!(pid(), first);
    assert!(std::process::Command::new("kill").args(["-9", first.trim()]).status().unwrap().success());
    wait_until("there is a new one", || pid() != first);
    wait_until("it answers", || {
        TcpStream::connect(("127.0.0.1", house.machine.listen_port)).is_ok()
            && house.ask_signed(app.port) == 200
    });
    app.end();
}

#[test]
fn from_listening_to_the_first_answer_takes_less_than_a_second() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(house) = house() else { return };
    let mut took: Vec<Duration> = (0..20)
        .map(|_| {
            let app = App::start("127.0.0.1:0");
            let begun = Instant::now();
            wait_until("it answers", || house.ask_signed(app.port) == 200);
            let took = begun.elapsed();
            let again = Instant::now();
            assert_eq!(house.ask_signed(app.port), 200);
            eprintln!("{took:?}, then {:?} a request", again.elapsed());
            app.end();
            took
        })
        .collect();
    took.sort();
    eprintln!("from listen() to 200: median {:?}, slowest {:?}", took[10], took[19]);
    assert!(took[18] < Duration::from_secs(1), "{took:?}");
}
