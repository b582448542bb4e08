//! Load for `scripts/bench-gateway`: posts over kept connections and prints how fast the answers came.
//!
//! `gateway_load ADDRESS PATH CONNECTIONS REQUESTS`

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, address, path, connections, requests] = args.as_slice() else {
        println!("usage: gateway_load ADDRESS PATH CONNECTIONS REQUESTS");
        return;
    };
    let connections: usize = connections.parse().expect("a number of connections");
    let each = requests.parse::<usize>().expect("a number of requests") / connections;
    let began = Instant::now();
    let running: Vec<_> = (0..connections)
        .map(|n| tokio::spawn(connection(address.clone(), path.clone(), n, each)))
        .collect();
    let mut times = Vec::new();
    let mut failures = 0;
    for one in running {
        let (mut seen, failed) = one.await.expect("a connection");
        times.append(&mut seen);
        failures += failed;
    }
    let elapsed = began.elapsed();
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get((times.len() * part / 1000).min(times.len() - 1))
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{} accepted, {failures} not, over {connections} connections in {:.2} s: {:.0}/s; p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        times.len(),
        elapsed.as_secs_f64(),
        f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX)) / elapsed.as_secs_f64(),
        millis(at(500)),
        millis(at(990)),
        millis(at(1000)),
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The times of the accepted requests of one connection, and how many were not accepted.
async fn connection(address: String, path: String, number: usize, requests: usize) -> (Vec<Duration>, usize) {
    let mut stream = TcpStream::connect(&address).await.expect("the gateway listens");
    stream.set_nodelay(true).expect("set");
    let mut times = Vec::with_capacity(requests);
    let mut failures = 0;
    let mut buffer = vec![0; 16 << 10];
    for n in 0..requests {
        let body = format!("{{\"title\":\"load\",\"body\":\"message {n} of connection {number}\"}}");
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("written");
        let good = answer(&mut stream, &mut buffer).await;
        if good {
            times.push(began.elapsed());
        } else {
            failures += 1;
        }
    }
    (times, failures)
}

/// Reads one whole answer; true for 200.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(count > 0, "the gateway closed the connection");
        filled += count;
        let text = String::from_utf8_lossy(&buffer[..filled]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(|n| n.trim().to_owned())
            })
            .and_then(|length| length.parse::<usize>().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return head.starts_with("HTTP/1.1 200");
        }
    }
}
