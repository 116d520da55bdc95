//! The binary as a process: started with free ports, stopped when dropped.

use super::{eventually, within};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A command line of the binary, without any setting from this test's own environment.
pub fn sluice(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLUICE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Arguments that let any number of servers run on one machine.
pub const LOCAL: [&str; 8] =
    ["--http", "127.0.0.1:0", "--media-port", "0", "--media-listen", "127.0.0.1", "--advertise", "127.0.0.1"];

/// A server that has said it runs.
pub struct Server {
    child: Child,
    /// What it printed until it was ready.
    pub printed: String,
    pub http: SocketAddr,
    /// Metrics, health and the admin API.
    pub admin: SocketAddr,
    pub udp: SocketAddr,
    pub tcp: Option<SocketAddr>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts with [`LOCAL`] and more arguments.
    pub async fn start(arguments: &[&str]) -> Server {
        Server::start_with(arguments, &[]).await
    }

    /// Starts with [`LOCAL`], more arguments and environment variables.
    pub async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let mut command = sluice(&[&LOCAL[..], arguments].concat());
        command.envs(environment.iter().copied());
        Server::run(command).await
    }

    /// Starts with settings in a file beside [`LOCAL`].
    pub async fn configured(toml: &str, arguments: &[&str]) -> Server {
        let file = SettingsFile::new(toml);
        Server::start(&[&["--config", file.path()], arguments].concat()).await
    }

    /// Runs a command line and waits until it has printed everything that it prints at the start.
    pub async fn run(mut command: Command) -> Server {
        let mut child = command.spawn().expect("sluice starts");
        let (lines, mut printed_lines) = mpsc::unbounded_channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let reader = std::thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|l| drop(lines.send(l))));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (log, mut source) = (stderr.clone(), BufReader::new(child.stderr.take().expect("stderr")));
        let logger = std::thread::spawn(move || {
            let mut line = String::new();
            while source.read_line(&mut line).is_ok_and(|n| n > 0) {
                log.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let mut printed = String::new();
        while !printed.contains("Ctrl-C stops") {
            match within("the server says that it runs", printed_lines.recv()).await {
                Some(line) => printed.push_str(&(line + "\n")),
                None => panic!("sluice ended: {printed}{}", stderr.lock().unwrap()),
            }
        }
        let address = |before: &str| {
            let rest = printed.split(before).nth(1)?.trim_start();
            rest.split(|c: char| c.is_whitespace() || c == '/').next()?.replace("localhost", "127.0.0.1").parse().ok()
        };
        Server {
            http: address("Open http://").or_else(|| address("Open https://")).expect("a URL"),
            admin: address("Metrics and health: http://").expect("an admin URL"),
            udp: address("    udp").expect("a UDP candidate"),
            tcp: address("    tcp"),
            printed: printed.clone(),
            child,
            stderr,
            readers: vec![reader, logger],
        }
    }

    /// The process's end of a TCP connection to one of its ports, once it has accepted one. What is asked of it the
    /// process itself has set.
    pub async fn accepted(&self, port: u16) -> std::net::TcpStream {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("a process");
        let is_accepted = |socket: &std::net::TcpStream| {
            socket.local_addr().is_ok_and(|local| local.port() == port) && socket.peer_addr().is_ok()
        };
        eventually("the connection is accepted", async || {
            let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("its files");
            let numbers = files.filter_map(|file| file.ok()?.file_name().to_str()?.parse().ok());
            let sockets = numbers.filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok());
            sockets.map(std::net::TcpStream::from).find(is_accepted)
        })
        .await
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// Waits for the end of the process.
    pub async fn exit(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        eventually("the process ends", async || child.lock().unwrap().try_wait().expect("a child")).await
    }

    /// An HTTP request without a body.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let stream = TcpStream::connect(self.http).await.expect("HTTP is served");
        request_over(stream, self.http, method, path, headers, "").await
    }

    /// A GET request to the admin address.
    pub async fn admin(&self, path: &str) -> Response {
        let stream = TcpStream::connect(self.admin).await.expect("HTTP is served");
        request_over(stream, self.admin, "GET", path, &[], "").await
    }

    /// A request with a body.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let stream = TcpStream::connect(self.http).await.expect("HTTP is served");
        request_over(stream, self.http, method, path, headers, body).await
    }

    /// A request to the admin API.
    pub async fn manage(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let stream = TcpStream::connect(self.admin).await.expect("HTTP is served");
        request_over(stream, self.admin, method, path, headers, body).await
    }

    /// Waits until the log has `text`.
    pub async fn logs(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), async || self.log().contains(text).then_some(())).await;
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[]).await
    }

    /// The value of a metric, the sum over all its labels that `labels` does not name.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = self.admin("/metrics").await.body;
        let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        samples
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter(|(series, _)| labels.iter().all(|(key, value)| series.contains(&format!("{key}=\"{value}\""))))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric, summed as in [`Server::metric`], is as wanted.
    pub async fn metric_reaches(&self, name: &str, labels: &[(&str, &str)], wanted: impl Fn(f64) -> bool) -> f64 {
        let what = format!("{name}{labels:?} gets there");
        eventually(&what, async || Some(self.metric(name, labels).await).filter(|value| wanted(*value))).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// An HTTP request over any stream.
pub async fn request_over<S: AsyncReadExt + AsyncWriteExt + Unpin>(
    mut stream: S,
    host: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).await.expect("request sent");
    let mut response = Vec::new();
    within("an HTTP response", stream.read_to_end(&mut response)).await.expect("a response");
    Response::parse(&String::from_utf8_lossy(&response))
}

/// A whole HTTP response.
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    fn parse(text: &str) -> Response {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned()));
        Response { status: status.expect("a status"), headers: headers.collect(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Output of a run that ends by itself.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command line to its end.
pub async fn run_to_end(mut command: Command) -> Finished {
    let mut child = command.spawn().expect("sluice starts");
    let (mut out, mut err) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
    let out = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let err = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let child = Mutex::new(KillOnDrop(child));
    let ended = within("the process ends by itself", async {
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            pause.tick().await;
            if let Some(status) = child.lock().unwrap().0.try_wait().expect("a child") {
                return status;
            }
        }
    });
    let status = ended.await;
    Finished { status, stdout: out.await.unwrap().unwrap(), stderr: err.await.unwrap().unwrap() }
}

/// A process that must not outlive a test which has given up on it.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A settings file that goes away with its test.
pub struct SettingsFile(std::path::PathBuf);

impl SettingsFile {
    pub fn new(toml: &str) -> SettingsFile {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sluice-test-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, toml).expect("a settings file");
        SettingsFile(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl SettingsFile {
    /// Writes other settings into the file.
    pub fn replace(&self, toml: &str) {
        std::fs::write(&self.0, toml).expect("a settings file");
    }
}

impl Drop for SettingsFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
