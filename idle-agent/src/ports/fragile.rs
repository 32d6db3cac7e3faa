//! Listeners that nobody connects to but who was meant to: debuggers that wait for their first client, transfers that take
//! whatever comes first for the file, databases that write down a strange client. Pure.

/// Ports of well-known servers that do not speak HTTP: databases, brokers, debuggers.
const PORTS: [u16; 18] = [
    1433, 1521, 2345, 3306, 4711, 5005, 5432, 5433, 5672, 6379, 6380, 9042, 9092, 9229, 9230, 11211, 27017,
    33060,
];
/// Programs that serve one client, or none that they did not expect.
const PROGRAMS: [&str; 18] = [
    "croc",
    "dlv",
    "gdbserver",
    "iperf",
    "iperf3",
    "lldb",
    "lldb-dap",
    "lldb-server",
    "nc",
    "nc.openbsd",
    "nc.traditional",
    "ncat",
    "netcat",
    "rdbg",
    "rsync",
    "socat",
    "sshd",
    "sshd-session",
];
/// Words by which a program is told to listen for a debugger, on a port that stands near them.
const DEBUGGED: [&str; 6] = ["jdwp", "--inspect", "debugpy", "pydevd", "xdebug", "--dap"];

/// Whether a listener is left alone; of a process by the arguments that it was called with.
pub fn is_fragile(port: u16, name: &str, arguments: &[String]) -> bool {
    let has_port = |argument: &String| {
        argument.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.parse() == Ok(port))
    };
    PORTS.contains(&port)
        || PROGRAMS.contains(&name)
        || (arguments.iter().any(|argument| DEBUGGED.iter().any(|word| argument.contains(word)))
            && arguments.iter().any(has_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_one_client_is_left_alone_and_servers_are_not() {
        let table = [
            (5432, "postgres", "postgres -D data", true),
            (4000, "dlv", "dlv debug --headless --listen=127.0.0.1:4000", true),
            (9000, "nc", "nc -l 127.0.0.1 9000", true),
            (
                8787,
                "java",
                "java -agentlib:jdwp=transport=dt_socket,server=y,address=*:8787 -jar app.jar",
                true,
            ),
            (
                8080,
                "java",
                "java -agentlib:jdwp=transport=dt_socket,server=y,address=*:8787 -jar app.jar",
                false,
            ),
            (5678, "python3", "python3 -m debugpy --listen 5678 app.py", true),
            (8000, "python3", "python3 -m debugpy --listen 5678 app.py", false),
            (9333, "node", "node --inspect=127.0.0.1:9333 server.js", true),
            (3000, "node", "node --inspect=127.0.0.1:9333 server.js", false),
            (5678, "node", "node /usr/bin/n8n", false),
            (8000, "python3", "python3 -m http.server 8000", false),
        ];
        for (port, name, called, fragile) in table {
            let arguments: Vec<String> = called.split(' ').map(str::to_owned).collect();
            assert_eq!(is_fragile(port, name, &arguments), fragile, "{port}: {called}");
        }
    }
}
