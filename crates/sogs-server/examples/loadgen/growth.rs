//! Growth of the cost with messages, rooms and users: a table, and a plot as SVG.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::child::{self, Child};
use crate::drive::drive;
use crate::requests::Workshop;

struct Point {
    size: i64,
    start_ms: f64,
    posts: f64,
    recent: f64,
    polls: f64,
    memory: f64,
}

fn measure(rooms: i64, messages: i64, users: i64, size: i64) -> Point {
    let dir = tempfile::tempdir().unwrap();
    child::fill_dir(dir.path(), None, rooms, messages, users);
    // The first start reads the program from disk; the second is the server's own time.
    drop(Child::start(dir.path(), None));
    let server = Child::start(dir.path(), None);
    let workshop = Workshop::with_people(&server, 0, 2000);
    drive(&server, &workshop.capabilities(2000), 8, 60.0);
    let run = |list: Vec<Vec<u8>>| drive(&server, &list, 32, 1.5).per_second();
    let posts = run(workshop.posts(9000, 0));
    let recent = run(workshop.recent(20_000));
    let polls = run(workshop.onion_polls(12_000));
    Point {
        size,
        start_ms: server.started_ms,
        posts,
        recent,
        polls,
        memory: server.peak_mb(),
    }
}

/// Prints the table and, if asked, writes the plot.
pub(crate) fn run(plot: Option<PathBuf>) {
    let series: [(&str, Vec<Point>); 3] = [
        (
            "messages",
            [10, 1000, 100_000, 1_000_000]
                .map(|n| measure(1, n, 100, n))
                .into(),
        ),
        (
            "rooms",
            [1, 10, 100, 1000]
                .map(|n| measure(n, 10 * n.max(100), 100, n))
                .into(),
        ),
        (
            "users",
            [10, 1000, 10_000, 100_000, 1_000_000]
                .map(|n| measure(1, 1000, n, n))
                .into(),
        ),
    ];
    println!("| growing | size | cold start ms | posts/s | recent/s | onion polls/s | memory MB |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (name, points) in &series {
        for p in points {
            println!(
                "| {name} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                p.size, p.start_ms, p.posts, p.recent, p.polls, p.memory
            );
        }
    }
    if let Some(path) = plot {
        draw(&path, &series);
    }
}

/// Three panels, one line each for posts, recent and polls; sizes on a logarithmic axis.
fn draw(path: &Path, series: &[(&str, Vec<Point>); 3]) {
    let top = series
        .iter()
        .flat_map(|(_, points)| points)
        .map(|p| p.posts.max(p.recent).max(p.polls))
        .fold(1.0, f64::max);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 300\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"900\" height=\"300\" fill=\"white\"/>\n",
    );
    for (panel, (name, points)) in series.iter().enumerate() {
        let left = 60.0 + 285.0 * panel as f64;
        let (least, most) = (points[0].size as f64, points[points.len() - 1].size as f64);
        let x =
            |size: i64| left + 220.0 * ((size as f64).ln() - least.ln()) / (most.ln() - least.ln()).max(1e-9);
        let y = |value: f64| 240.0 - 200.0 * value / top;
        let _ = writeln!(
            svg,
            "<path d=\"M{left} 40V240H{}\" fill=\"none\" stroke=\"#888\"/>",
            left + 225.0
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"275\" text-anchor=\"middle\">{name}</text>",
            left + 110.0
        );
        for p in points {
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"255\" text-anchor=\"middle\">{}</text>",
                x(p.size),
                p.size
            );
        }
        for part in 0..=4 {
            let value = top * f64::from(part) / 4.0;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{value:.0}</text>",
                left - 4.0,
                y(value) + 4.0
            );
        }
        for (colour, pick) in [
            ("#c0392b", (|p| p.posts) as fn(&Point) -> f64),
            ("#2471a3", |p| p.recent),
            ("#1e8449", |p| p.polls),
        ] {
            let line: Vec<String> = points
                .iter()
                .map(|p| format!("{:.1},{:.1}", x(p.size), y(pick(p))))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                line.join(" ")
            );
        }
    }
    svg.push_str(
        "<text x=\"60\" y=\"20\" fill=\"#c0392b\">posts per second</text>\
         <text x=\"180\" y=\"20\" fill=\"#2471a3\">recent (100 messages) per second</text>\
         <text x=\"390\" y=\"20\" fill=\"#1e8449\">no-change polls through onions per second</text>\n</svg>\n",
    );
    std::fs::write(path, svg).unwrap();
}
