//! Sends prepared requests over kept connections and counts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::child::Child;

/// Result of a run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) done: usize,
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
    pub(crate) server_cpu: f64,
    pub(crate) memory_mb: f64,
    /// Latencies in milliseconds, sorted.
    pub(crate) latencies: Vec<f64>,
    pub(crate) example: String,
}

impl Report {
    pub(crate) fn header() -> String {
        format!(
            "{:<30} {:>5} {:>10} {:>9} {:>9} {:>12} {:>8}",
            "request", "conns", "per second", "p50 ms", "p99 ms", "CPU us/req", "MB"
        )
    }

    /// Adds another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.seconds += other.seconds;
        self.server_cpu += other.server_cpu;
        self.memory_mb = self.memory_mb.max(other.memory_mb);
        self.latencies.extend(other.latencies);
        self.latencies.sort_by(f64::total_cmp);
        if self.example.is_empty() {
            self.example = other.example;
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let at = ((self.latencies.len() as f64 - 1.0) * q).max(0.0) as usize;
        self.latencies.get(at).copied().unwrap_or(0.0)
    }

    pub(crate) fn line(&self, name: &str, connections: usize) -> String {
        let mut line = format!(
            "{:<30} {:>5} {:>10.0} {:>9.2} {:>9.2} {:>12.1} {:>8.1}",
            name,
            connections,
            self.per_second(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.server_cpu * 1e6 / self.done.max(1) as f64,
            self.memory_mb
        );
        if self.failed > 0 {
            line.push_str(&format!("  {} FAILED: {}", self.failed, self.example));
        }
        line
    }
}

/// Sends the requests over these connections until the requests or the time run out.
///
/// A status outside of 2xx is a failure.
pub(crate) fn drive(server: &Child, requests: &[Vec<u8>], connections: usize, seconds: f64) -> Report {
    drive_paced(server, requests, connections, seconds, Duration::ZERO)
}

/// The same with a pause after every answer, as people make it.
pub(crate) fn drive_paced(
    server: &Child,
    requests: &[Vec<u8>],
    connections: usize,
    seconds: f64,
    pause: Duration,
) -> Report {
    let next = AtomicUsize::new(0);
    let cpu = server.cpu();
    let begin = Instant::now();
    let until = begin + Duration::from_secs_f64(seconds);
    let parts: Vec<Report> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| one_connection(server, requests, &next, until, pause)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut report = Report {
        seconds: begin.elapsed().as_secs_f64(),
        ..Report::default()
    };
    report.server_cpu = server.cpu() - cpu;
    for part in parts {
        report.add(part);
    }
    report.memory_mb = server.memory_mb();
    report
}

fn one_connection(
    server: &Child,
    requests: &[Vec<u8>],
    next: &AtomicUsize,
    until: Instant,
    pause: Duration,
) -> Report {
    let mut report = Report::default();
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    while Instant::now() < until {
        let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) else {
            break;
        };
        let begin = Instant::now();
        stream.write_all(request).unwrap();
        let (status, text) = read_answer(&mut stream, &mut buffer);
        report.latencies.push(begin.elapsed().as_secs_f64() * 1000.0);
        report.done += 1;
        if !(200..300).contains(&status) {
            report.failed += 1;
            report.example = format!("{status} {text}");
        }
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    report
}

fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> (u16, String) {
    let mut have = 0;
    let head_end = loop {
        let got = stream.read(&mut buffer[have..]).unwrap();
        assert!(got > 0, "the server closed the connection");
        have += got;
        if let Some(at) = buffer[..have].windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length: usize = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(|rest| rest.trim().parse().unwrap())
        })
        .unwrap_or(0);
    let total = head_end + length;
    if buffer.len() < total {
        buffer.resize(total, 0);
    }
    while have < total {
        let got = stream.read(&mut buffer[have..total]).unwrap();
        assert!(got > 0, "the server closed the connection");
        have += got;
    }
    let text = if status >= 300 {
        String::from_utf8_lossy(&buffer[head_end..total.min(head_end + 200)]).into_owned()
    } else {
        String::new()
    };
    (status, text)
}
