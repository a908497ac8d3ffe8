//! The one binary: `rackberry serve` is the box, everything else asks it.

mod command;

use anyhow::Context;
use clap::Parser;
use command::{
    CardSetupArgs, Command, ConfigCommand, ConfigFile, RamrootCommand, ServeArgs,
    ask::{Usage, ask},
    initrd, ramroot,
    show::Shown,
};
use rackberry::{
    app::{App, Start},
    card,
    cli::{CallError, Client, table},
    config::{Config, Origin},
    inventory::{Inventory, OpenOptions},
    net::{FixedAddress, NetUp},
    time, update,
};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Provisions a rack from the network: DHCP, TFTP, HTTP boot, installs.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// Where the box keeps its state.
    #[arg(long, global = true, env = "RACKBERRY_STATE_DIR", default_value = "/var/lib/rackberry")]
    state_dir: PathBuf,
    /// Asks the box whose page is there, for example http://192.168.77.1:8000, in place of the one of the state folder.
    #[arg(long, global = true, env = "RACKBERRY_URL")]
    url: Option<String>,
    /// Where the token for --url stands; else it is in the variable RACKBERRY_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// JSON for programs instead of tables for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let shown = Shown { json: cli.json };
    let Err(error) = run(&cli, &shown) else { return ExitCode::SUCCESS };
    if cli.json {
        shown.line(&json!({ "error": format!("{error:#}") }).to_string());
    } else {
        let _ = writeln!(std::io::stderr(), "rackberry: {error:#}");
    }
    // As clap ends on mistakes that it finds itself.
    ExitCode::from(if is_usage(&error) { 2 } else { 1 })
}

fn is_usage(error: &anyhow::Error) -> bool {
    let address = error.downcast_ref::<CallError>();
    error.is::<Usage>() || matches!(address, Some(CallError::BadUrl { .. } | CallError::Https { .. }))
}

fn run(cli: &Cli, shown: &Shown) -> anyhow::Result<()> {
    match &cli.command {
        Command::Serve(ServeArgs { file, card, heartbeat, sys, updates, clock, lease }) => {
            let start = match card {
                Some(card) => card::look(card).into(),
                None => Start::new(load(file)?),
            };
            let start = Start {
                heartbeat: heartbeat.clone(),
                sys: sys.clone(),
                updates: updates.clone(),
                clock: clock.clone(),
                lease: lease.clone(),
                ..start
            };
            serve(cli, start)
        }
        Command::CardSetup(args) => card_setup(cli, args, shown),
        Command::CheckConfig { file } => {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            card::check(&text).with_context(|| file.display().to_string())?;
            shown.done(&json!({ "file": file, "in_order": true }), "The settings are in order.");
            Ok(())
        }
        Command::Config(ConfigCommand::Sample { card }) => {
            let sample = if *card { card::sample() } else { rackberry::config::sample() };
            shown.done(&json!({ "sample": sample }), &sample);
            Ok(())
        }
        Command::Config(ConfigCommand::Show(file)) => show_config(file, shown),
        Command::NetUp { interface, card, lease } => {
            net_up(interface.as_deref(), card.as_deref(), lease.as_deref(), shown)
        }
        Command::Restore { file } => {
            let mut options = OpenOptions::new(&cli.state_dir);
            options.restore = Some(file.clone());
            drop(Inventory::open(options).with_context(|| format!("restoring {}", file.display()))?);
            let sentence = "The backup is in place; the former inventory was set aside beside it.";
            shown.done(&json!({ "restored": file }), sentence);
            Ok(())
        }
        Command::UpdateHelper(args) => {
            rackberry::log::start();
            let setup = update::Setup {
                env: args.env.clone(),
                socket: args.socket.clone(),
                bundle: update::bundle_path(&cli.state_dir),
                record: args.record.clone(),
                key: args.key.clone(),
                trial: args.trial.clone(),
                sys: args.sys.clone(),
            };
            match update::run(&setup)? {}
        }
        Command::ClockHelper(args) => {
            rackberry::log::start();
            let places = time::Places {
                socket: args.socket.clone(),
                built: args.built.clone(),
                floor: args.floor.clone(),
                state_dir: cli.state_dir.clone(),
            };
            match time::run(&places)? {}
        }
        Command::Initrd(command) => initrd::initrd(command, shown),
        Command::Ramroot(RamrootCommand::Build(args)) => ramroot::build(args),
        Command::ImportWorker => rackberry::media::run_worker().context("looking at media"),
        Command::Openapi => {
            let document = rackberry::http::api::openapi::document();
            shown.done(&document, &serde_json::to_string_pretty(&document)?);
            Ok(())
        }
        command => {
            let client = client(cli)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(&client, command, shown))
        }
    }
}

/// The way to the box that is meant.
fn client(cli: &Cli) -> anyhow::Result<Client> {
    let Some(url) = &cli.url else { return Ok(Client::new(&cli.state_dir)) };
    let token = match &cli.token_file {
        Some(file) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("reading the token in {}", file.display()))?;
            Some(text)
        }
        None => std::env::var("RACKBERRY_TOKEN").ok(),
    };
    let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    Ok(Client::at(url, token)?)
}

/// How long a DHCP server may take to give the box itself an address.
const NET_UP_PATIENCE: Duration = Duration::from_secs(8);

fn net_up(interface: Option<&str>, card: Option<&Path>, lease: Option<&Path>, shown: &Shown) -> anyhow::Result<()> {
    let card = card.map(card::look);
    let fixed = card.as_ref().and_then(|look| {
        let (address, prefix) = look.settings.address?;
        Some(FixedAddress { address, prefix, gateway: look.settings.gateway })
    });
    let interface = interface.or(card.as_ref().and_then(|look| look.config.interface.as_deref()));
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?;
    let (interface, up) = rackberry::net::net_up(interface, fixed, NET_UP_PATIENCE, u32::from_le_bytes(random))?;
    let dns = card.as_ref().map(|look| look.settings.dns.as_slice()).unwrap_or_default();
    if let Some((path, told)) = lease.zip(up.told(dns)) {
        std::fs::write(path, told).with_context(|| format!("writing what the lease says into {}", path.display()))?;
    }
    let sentence = match up {
        NetUp::Kept(address, prefix) => format!("{} keeps {address}/{prefix}.", interface.name),
        NetUp::Leased { address, prefix, server, .. } => {
            format!("{} got {address}/{prefix} from the DHCP server {server}.", interface.name)
        }
        NetUp::Fixed(address, prefix) => format!("{} is {address}/{prefix} now, as the card says.", interface.name),
        NetUp::Fallback => format!("Nobody answered on {}, so it is 192.168.77.1/24 now.", interface.name),
    };
    shown.done(&json!({ "interface": interface.name, "sentence": sentence }), &sentence);
    Ok(())
}

fn card_setup(cli: &Cli, args: &CardSetupArgs, shown: &Shown) -> anyhow::Result<()> {
    let mut wiped = vec![cli.state_dir.clone()];
    wiped.extend(args.wipe.iter().cloned());
    let places = card::Places {
        card: args.card.clone(),
        out: args.out.clone(),
        base: args.base.clone(),
        wiped,
        remount: args.remount,
    };
    let outcome = card::set_up(&places)?;
    let mut sentences: Vec<String> = outcome.mistakes.iter().map(ToString::to_string).collect();
    if outcome.reset {
        sentences.push("The box was reset: people, machines and images are gone.".to_owned());
    }
    sentences.extend(outcome.card_unwritten.as_ref().map(|why| format!("The card stays as it was: {why}.")));
    sentences.push(format!("The box is {}.", outcome.settings.hostname.as_deref().unwrap_or("rackberry")));
    let mistakes: Vec<String> = outcome.mistakes.iter().map(ToString::to_string).collect();
    let json = json!({ "mistakes": mistakes, "reset": outcome.reset, "card_unwritten": outcome.card_unwritten });
    shown.done(&json, &sentences.join("\n"));
    Ok(())
}

fn config_path(file: &ConfigFile) -> Option<PathBuf> {
    let usual = Path::new("/etc/rackberry/rackberry.toml");
    file.config.clone().or_else(|| usual.exists().then(|| usual.to_owned()))
}

fn config_text(file: &ConfigFile) -> anyhow::Result<String> {
    match config_path(file) {
        Some(path) => std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display())),
        None => Ok(String::new()),
    }
}

fn load(file: &ConfigFile) -> anyhow::Result<Config> {
    let text = config_text(file)?;
    Config::parse(&text).with_context(|| config_path(file).map(|path| path.display().to_string()).unwrap_or_default())
}

fn show_config(file: &ConfigFile, shown: &Shown) -> anyhow::Result<()> {
    let (_, settings) = Config::parse_shown(&config_text(file)?)?;
    let origin = |origin: Origin| match origin {
        Origin::Default => "default".to_owned(),
        Origin::File(line) => format!("file, line {line}"),
    };
    if shown.json {
        let list: Vec<Value> = settings
            .iter()
            .map(|set| json!({ "key": set.key, "value": set.value, "origin": origin(set.origin) }))
            .collect();
        shown.line(&Value::from(list).to_string());
    } else {
        let rows: Vec<Vec<String>> =
            settings.into_iter().map(|set| vec![set.key, set.value, origin(set.origin)]).collect();
        shown.line(&table(&["KEY", "VALUE", "FROM"], &rows));
    }
    Ok(())
}

fn serve(cli: &Cli, start: Start) -> anyhow::Result<()> {
    rackberry::log::start();
    // Each connection, transfer and waiting agent is a descriptor; service managers start with 1,024.
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: descriptors.maximum, ..descriptors };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, all) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    // Before the runtime starts its threads: rights are given up thread by thread.
    let app = App::open(start, &cli.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(app.run(stop_signal()));
    // A name server that is still waited for holds up no end; everything else has ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ended?)
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use rackberry::http::api::table;
    use std::collections::BTreeSet;

    /// The commands that end in something to do, as they are typed.
    fn leaves(command: &clap::Command, before: &str, found: &mut BTreeSet<String>) {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let typed = format!("{before}{}", below.get_name());
            if below.has_subcommands() {
                leaves(below, &format!("{typed} "), found);
            } else {
                found.insert(typed);
            }
        }
    }

    #[test]
    fn every_call_has_its_command_and_every_command_its_call() {
        Cli::command().debug_assert();
        let mut typed = BTreeSet::new();
        leaves(&Cli::command(), "", &mut typed);
        let called: BTreeSet<String> = table::all().map(|route| route.command.to_owned()).collect();
        let missing: Vec<&String> = called.difference(&typed).collect();
        assert!(missing.is_empty(), "rows name commands that there are not: {missing:?}");
        // On this machine alone, or another form of a call that is there.
        let apart = [
            "serve",
            "card-setup",
            "check-config",
            "config show",
            "config sample",
            "net-up",
            "restore",
            "update-helper",
            "clock-helper",
            "initrd append",
            "initrd list",
            "initrd pack",
            "initrd unpack",
            "ramroot build",
            "import-worker",
        ];
        let forms = ["host import", "profile show", "user role"];
        let left: Vec<&String> =
            typed.difference(&called).filter(|typed| !apart.iter().chain(&forms).any(|known| known == typed)).collect();
        assert!(left.is_empty(), "commands without a call: {left:?}");
    }

    #[test]
    fn mistakes_in_the_command_itself_end_with_2() {
        assert!(is_usage(&Client::at("https://192.0.2.1", None).unwrap_err().into()));
        assert!(!is_usage(&anyhow::anyhow!("the box refused")));
    }
}
