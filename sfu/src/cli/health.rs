//! `sluice health`: asks a server for `/livez` at its admin address, by the same settings. A container's health check
//! needs no other program.

use crate::settings::Settings;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// For the connection, and for each read.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(settings: &Settings) -> ExitCode {
    let mut address = settings.admin_listen();
    if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    match status_line(address) {
        Ok(line) if line.split(' ').nth(1) == Some("200") => ExitCode::SUCCESS,
        Ok(line) => failed(address, line.trim()),
        Err(error) => failed(address, &error.to_string()),
    }
}

fn status_line(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

fn failed(address: SocketAddr, why: &str) -> ExitCode {
    eprintln!("sluice: no healthy server at {address} (admin.listen): {why}");
    ExitCode::FAILURE
}
