//! Makes a pysogs community larger, by rows that a long life leaves in its database: `grow SOURCE TARGET MESSAGES`
//! copies the folder SOURCE (such as `vectors/sogs/pysogs-sample`) to TARGET and adds to it there. For trying and
//! measuring `ackpost server import`.
#![expect(clippy::print_stdout, reason = "a command line program")]

use std::path::{Path, PathBuf};

mod rows;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, messages] = words.as_slice() else {
        return Err("grow SOURCE TARGET MESSAGES".into());
    };
    let target = PathBuf::from(target);
    rows::copy_folder(Path::new(source), &target)?;
    rows::grow(&target, messages.parse()?).await?;
    println!("{}", target.display());
    Ok(())
}
