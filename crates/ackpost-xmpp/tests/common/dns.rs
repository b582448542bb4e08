//! A name server for service records and addresses.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use ackpost_xmpp::Dns;

/// A name server that knows these records: `name kind data`. Everything else does not exist.
pub struct NameServer {
    pub address: std::net::SocketAddr,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    pub fn start(records: &[(&str, &str)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Vec<(String, String)> = records
            .iter()
            .map(|(n, d)| ((*n).to_owned(), (*d).to_owned()))
            .collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut packet) {
                let Some((answer, name)) = answer(&packet[..len], &zone) else {
                    continue;
                };
                log.lock().unwrap().push(name);
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { address, asked }
    }

    pub fn dns(&self) -> Dns {
        Dns::Servers(vec![self.address])
    }
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

fn answer(query: &[u8], zone: &[(String, String)]) -> Option<(Vec<u8>, String)> {
    let mut at = 12;
    let mut labels = Vec::new();
    while *query.get(at)? != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + len)?).to_lowercase());
        at += len + 1;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let question = &query[12..at + 5];
    let name = labels.join(".");
    let records: Vec<Vec<u8>> = zone
        .iter()
        .filter(|(known, _)| *known == name)
        .filter_map(|(_, data)| {
            let fields: Vec<&str> = data.split(' ').collect();
            match (fields[0], kind) {
                ("A", 1) => Some(fields[1].parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec()),
                ("AAAA", 28) => Some(fields[1].parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec()),
                ("SRV", 33) => {
                    let mut out = Vec::new();
                    for number in &fields[1..4] {
                        out.extend_from_slice(&number.parse::<u16>().unwrap().to_be_bytes());
                    }
                    out.extend_from_slice(&wire_name(fields[4]));
                    Some(out)
                }
                _ => None,
            }
        })
        .collect();
    let exists = zone.iter().any(|(known, _)| *known == name);
    let mut out = query[..2].to_vec();
    out.extend_from_slice(&[0x85, if exists { 0x80 } else { 0x83 }, 0, 1]);
    out.extend_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(question);
    for record in records {
        out.extend_from_slice(&[0xc0, 0x0c]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(record.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&record);
    }
    Some((out, name))
}
