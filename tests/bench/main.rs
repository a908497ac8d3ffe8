//! `./x bench [WORDS]`: ours beside other servers in one run, as one table in Markdown; WORDS choose the rows whose names hold them.
//!
//! Each server runs on one processor and the load on the other, ahead of all else the machine does. A row is the median of three
//! runs; CPU per unit of work is the figure to trust on a machine that is not quiet. Exit code 1: a row of ours misses its gate,
//! which is half of the way from 1x to its goal.
//!
//! To measure another protocol: a module like [`tftp`] that makes [`row::Row`]s, and its line in [`main`].

mod dhcp;
mod dhcp_load;
mod http;
mod process;
mod row;
mod tftp;
mod tftp_client;

use anyhow::{Context, Result};
use row::{Row, Standing, Units};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |what: &str| words.iter().all(|word| what.contains(word.as_str()));
    let variable = |name: &str| {
        std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set; run ./x bench"))
    };
    let peers = variable("RACKBERRY_BENCH_PEERS")?;
    let runs = std::env::var("RACKBERRY_BENCH_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(3);
    let _until_the_end = process::Ahead::of_the_others();
    let mut missed = Vec::new();
    let mut head = String::new();
    let mut tell = |units: Units, row: Row| {
        let needed = row::head(units);
        if head != needed {
            println!("{}{needed}", if head.is_empty() { "" } else { "\n" });
            head = needed;
        }
        println!("{}", row.line());
        if row.standing() == Some(Standing::Missed) {
            missed.push(row.what);
        }
    };
    tftp::rows(&variable("RACKBERRY_BENCH_TFTP")?, &peers, runs, wanted, |row| tell(tftp::UNITS, row))?;
    http::rows(&peers, runs, wanted, &mut tell)?;
    dhcp::rows(&peers, runs, wanted, |row| tell(dhcp::UNITS, row))?;
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("short of the gate: {}", missed.join("; "));
    Ok(ExitCode::FAILURE)
}
