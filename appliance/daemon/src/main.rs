//! The one binary: `rackberry serve` is the box, everything else asks it.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use hyper::Method;
use rackberry::{
    app::App,
    cli::{Client, encode, table},
    config::{Config, Origin},
    inventory::{Inventory, OpenOptions},
    net::NetUp,
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
    /// JSON for programs instead of tables for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the box.
    Serve(ConfigFile),
    /// Names every mistake of a settings file.
    CheckConfig { file: PathBuf },
    /// Settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Gives an interface an address: by DHCP, else 192.168.77.1. One-shot, needs root.
    NetUp { interface: Option<String> },
    /// Hosts.
    #[command(subcommand)]
    Host(HostCommand),
    /// Arms an install of PROFILE on HOST.
    Install(InstallArgs),
    /// Disarms or stops the install on HOST.
    Cancel { host: String },
    /// Goes on with an interrupted install on HOST.
    Resume { host: String },
    /// Images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// History.
    Events {
        #[arg(long)]
        host: Option<String>,
        /// Goes on with new ones.
        #[arg(long)]
        follow: bool,
    },
    /// People.
    #[command(subcommand)]
    User(UserCommand),
    /// Copies the inventory into FILE, also while the box runs.
    Backup { file: PathBuf },
    /// Puts a backup in place of the inventory; the box must not run.
    Restore { file: PathBuf },
    /// What the box does now.
    Status,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The settings; /etc/rackberry/rackberry.toml if it exists, else none.
    #[arg(long, env = "RACKBERRY_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every value and where it comes from.
    Show(ConfigFile),
    /// The sample file: every setting with its meaning and default.
    Sample,
}

#[derive(Debug, Subcommand)]
enum HostCommand {
    List,
    Show {
        host: String,
    },
    /// Enrols a host before its first boot.
    Add {
        mac: String,
        name: Option<String>,
    },
    /// Changes a host: name=node-02, policy=local-disk, note=TEXT, tags=a,b.
    Set {
        host: String,
        #[arg(required_unless_present_any = ["address", "option", "no_options"], value_name = "KEY=VALUE")]
        changes: Vec<String>,
        /// The IPv4 address DHCP keeps for it; - for none.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
        /// A DHCP option for it alone, for example 67=boot/own.efi; replaces those set before. May be repeated.
        #[arg(long, value_name = "NUMBER=VALUE")]
        option: Vec<String>,
        /// Takes its DHCP options away.
        #[arg(long)]
        no_options: bool,
    },
    Rm {
        host: String,
    },
    /// Enrols a list: MAC[, name[, serial[, uuid]]] a line; an IPv4 address behind the MAC becomes its fixed one.
    Import {
        csv: PathBuf,
        /// Names for those without one, for example node-%02d.
        #[arg(long, default_value = "")]
        pattern: String,
    },
}

#[derive(Debug, Args)]
struct InstallArgs {
    host: String,
    profile: String,
    /// only, smallest, largest, smallest-nvme, serial:NUMBER, wwn:NUMBER or name:sda.
    #[arg(long, default_value = "only")]
    disk: String,
    /// A parameter of the profile.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Erase the disk also if it holds data.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Takes an image in; its digest is printed and pinned.
    Import {
        file: PathBuf,
        /// The name profiles know it by; the file's name without endings if none.
        #[arg(long)]
        name: Option<String>,
        /// Refuse it unless it has this digest.
        #[arg(long)]
        sha256: Option<String>,
    },
    List,
    Rm {
        image: String,
    },
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    List,
    /// One profile, whole.
    Show {
        profile: String,
    },
    /// Every file that PROFILE would put into HOST, or one of them.
    Render {
        host: String,
        profile: String,
        file: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Adds a person; the password is read from standard input.
    Add { name: String },
    /// Gives a new password, read from standard input.
    Passwd { name: String },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if cli.json {
                say(&json!({ "error": format!("{error:#}") }).to_string());
            } else {
                let _ = writeln!(std::io::stderr(), "rackberry: {error:#}");
            }
            ExitCode::from(1)
        }
    }
}

/// Prints a line; a reader that has gone away is no error of ours.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Serve(file) => serve(cli, &load(file)?),
        Command::CheckConfig { file } => {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            Config::parse(&text).with_context(|| file.display().to_string())?;
            say("The settings are in order.");
            Ok(())
        }
        Command::Config(ConfigCommand::Sample) => {
            say(&rackberry::config::sample());
            Ok(())
        }
        Command::Config(ConfigCommand::Show(file)) => show_config(cli, file),
        Command::NetUp { interface } => net_up(interface.as_deref()),
        Command::Restore { file } => {
            let mut options = OpenOptions::new(&cli.state_dir);
            options.restore = Some(file.clone());
            drop(Inventory::open(options).with_context(|| format!("restoring {}", file.display()))?);
            say("The backup is in place; the former inventory was set aside beside it.");
            Ok(())
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(cli))
        }
    }
}

/// How long a DHCP server may take to give the box itself an address.
const NET_UP_PATIENCE: Duration = Duration::from_secs(8);

fn net_up(interface: Option<&str>) -> anyhow::Result<()> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?;
    let (interface, up) = rackberry::net::net_up(interface, NET_UP_PATIENCE, u32::from_le_bytes(random))?;
    say(&match up {
        NetUp::Kept(address, prefix) => format!("{} keeps {address}/{prefix}.", interface.name),
        NetUp::Leased { address, prefix, server, .. } => {
            format!("{} got {address}/{prefix} from the DHCP server {server}.", interface.name)
        }
        NetUp::Fallback => format!("Nobody answered on {}, so it is 192.168.77.1/24 now.", interface.name),
    });
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

fn show_config(cli: &Cli, file: &ConfigFile) -> anyhow::Result<()> {
    let (_, shown) = Config::parse_shown(&config_text(file)?)?;
    let origin = |origin: Origin| match origin {
        Origin::Default => "default".to_owned(),
        Origin::File(line) => format!("file, line {line}"),
    };
    if cli.json {
        let list: Vec<Value> = shown
            .iter()
            .map(|shown| json!({ "key": shown.key, "value": shown.value, "origin": origin(shown.origin) }))
            .collect();
        say(&Value::from(list).to_string());
    } else {
        let rows: Vec<Vec<String>> =
            shown.into_iter().map(|shown| vec![shown.key, shown.value, origin(shown.origin)]).collect();
        say(&table(&["KEY", "VALUE", "FROM"], &rows));
    }
    Ok(())
}

fn serve(cli: &Cli, config: &Config) -> anyhow::Result<()> {
    rackberry::log::start();
    // Each connection, transfer and waiting agent is a descriptor; service managers start with 1,024.
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: descriptors.maximum, ..descriptors };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, all) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    // Before the runtime starts its threads: rights are given up thread by thread.
    let app = App::open(config.clone(), &cli.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app.run(stop_signal()))?;
    Ok(())
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

async fn ask(cli: &Cli) -> anyhow::Result<()> {
    let client = Client::new(&cli.state_dir);
    let answer = match &cli.command {
        Command::Host(command) => host(&client, command).await?,
        Command::Install(args) => {
            let parameters: serde_json::Map<String, Value> = args
                .set
                .iter()
                .map(|pair| key_value(pair).map(|(key, value)| (key.to_owned(), Value::from(value))))
                .collect::<anyhow::Result<_>>()?;
            let body =
                json!({ "profile": args.profile, "disk": args.disk, "parameters": parameters, "erase": args.yes });
            client.call(Method::POST, &format!("/hosts/{}/install", encode(&args.host)), Some(body)).await?
        }
        Command::Cancel { host } => client.call(Method::POST, &format!("/hosts/{}/cancel", encode(host)), None).await?,
        Command::Resume { host } => client.call(Method::POST, &format!("/hosts/{}/resume", encode(host)), None).await?,
        Command::Image(command) => image(&client, command).await?,
        Command::Profile(command) => profile(&client, command).await?,
        Command::Events { host, follow } => return events(cli, &client, host.as_deref(), *follow).await,
        Command::User(UserCommand::Add { name } | UserCommand::Passwd { name }) => {
            let mut password = String::new();
            std::io::stdin().read_line(&mut password).context("reading the password from standard input")?;
            let body = json!({ "name": name, "password": password.trim_end_matches(['\n', '\r']) });
            client.call(Method::POST, "/users", Some(body)).await?
        }
        Command::Backup { file } => {
            let path = std::path::absolute(file)?;
            client.call(Method::POST, "/backup", Some(json!({ "path": path }))).await?
        }
        Command::Status => client.call(Method::GET, "/status", None).await?,
        Command::Serve(_)
        | Command::CheckConfig { .. }
        | Command::Config(_)
        | Command::NetUp { .. }
        | Command::Restore { .. } => bail!("this command needs no running daemon"),
    };
    show(cli, &answer);
    Ok(())
}

fn key_value(pair: &str) -> anyhow::Result<(&str, &str)> {
    pair.split_once('=').with_context(|| format!("\"{pair}\" is no KEY=VALUE"))
}

async fn host(client: &Client, command: &HostCommand) -> anyhow::Result<Value> {
    Ok(match command {
        HostCommand::List => client.call(Method::GET, "/hosts", None).await?,
        HostCommand::Show { host } => client.call(Method::GET, &format!("/hosts/{}", encode(host)), None).await?,
        HostCommand::Add { mac, name } => {
            let list = format!("{mac} {}", name.as_deref().unwrap_or_default());
            client.call(Method::POST, "/hosts", Some(json!({ "list": list }))).await?
        }
        HostCommand::Set { host, changes, address, option, no_options } => {
            let mut body = serde_json::Map::new();
            if let Some(address) = address {
                body.insert("address".to_owned(), Value::from(address.as_str()));
            }
            if *no_options || !option.is_empty() {
                body.insert("dhcp_options".to_owned(), Value::from(option.clone()));
            }
            for change in changes {
                let (key, value) = key_value(change)?;
                let value = if key == "tags" {
                    Value::from(value.split(',').filter(|tag| !tag.is_empty()).collect::<Vec<_>>())
                } else {
                    Value::from(value)
                };
                body.insert(key.to_owned(), value);
            }
            client.call(Method::PATCH, &format!("/hosts/{}", encode(host)), Some(body.into())).await?
        }
        HostCommand::Rm { host } => client.call(Method::DELETE, &format!("/hosts/{}", encode(host)), None).await?,
        HostCommand::Import { csv, pattern } => {
            let list = std::fs::read_to_string(csv).with_context(|| format!("reading {}", csv.display()))?;
            client.call(Method::POST, "/hosts", Some(json!({ "list": list, "pattern": pattern }))).await?
        }
    })
}

async fn image(client: &Client, command: &ImageCommand) -> anyhow::Result<Value> {
    Ok(match command {
        ImageCommand::List => client.call(Method::GET, "/images", None).await?,
        ImageCommand::Rm { image } => client.call(Method::DELETE, &format!("/images/{}", encode(image)), None).await?,
        ImageCommand::Import { file, name, sha256 } => {
            let stem = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = stem.split('.').next().unwrap_or_default();
            let path = format!(
                "/images?name={}&sha256={}&origin={}",
                encode(name.as_deref().unwrap_or(stem)),
                encode(sha256.as_deref().unwrap_or_default()),
                encode(&file.display().to_string())
            );
            client.upload(&path, file.clone()).await?
        }
    })
}

async fn profile(client: &Client, command: &ProfileCommand) -> anyhow::Result<Value> {
    Ok(match command {
        ProfileCommand::List => client.call(Method::GET, "/profiles", None).await?,
        ProfileCommand::Show { profile } => {
            let all = client.call(Method::GET, "/profiles", None).await?;
            let found = all.as_array().and_then(|all| {
                all.iter().find(|known| known.get("name").and_then(Value::as_str) == Some(profile)).cloned()
            });
            found.with_context(|| format!("there is no profile {profile}"))?
        }
        ProfileCommand::Render { host, profile, file } => {
            let path = format!("/hosts/{}/render/{}", encode(host), encode(profile));
            let rendered = client.call(Method::GET, &path, None).await?;
            match file {
                None => rendered,
                Some(file) => {
                    let files = rendered.get("files").and_then(Value::as_array).cloned().unwrap_or_default();
                    let found = files
                        .into_iter()
                        .find(|known| known.get("path").and_then(Value::as_str) == Some(file))
                        .with_context(|| format!("{profile} puts no file {file} there"))?;
                    found.get("content").cloned().unwrap_or_default()
                }
            }
        }
    })
}

async fn events(cli: &Cli, client: &Client, host: Option<&str>, follow: bool) -> anyhow::Result<()> {
    let host = encode(host.unwrap_or_default());
    let first = client.call(Method::GET, &format!("/events?host={host}"), None).await?;
    let mut list = first.as_array().cloned().unwrap_or_default();
    list.reverse();
    let mut last = 0;
    loop {
        for event in &list {
            last = event.get("seq").and_then(Value::as_u64).unwrap_or(last);
            say(&if cli.json { event.to_string() } else { event_line(event) });
        }
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let more = client.call(Method::GET, &format!("/events?host={host}&after={last}"), None).await?;
        list = more.as_array().cloned().unwrap_or_default();
    }
}

/// What an event says beside its kind, for people.
fn event_line(event: &Value) -> String {
    const SHOWN_APART: [&str; 9] = ["id", "origin", "at", "wall", "host", "install", "actor", "kind", "seq"];
    let kind = event.get("kind").and_then(Value::as_str).unwrap_or_default();
    let details: Vec<String> = event
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| !SHOWN_APART.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    let seq = event.get("seq").and_then(Value::as_u64).unwrap_or_default();
    format!("{seq:>6}  {kind:<18} {}", details.join(" "))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// JSON as it is, or what people want to see of it.
fn show(cli: &Cli, answer: &Value) {
    if cli.json {
        say(&answer.to_string());
        return;
    }
    let text = |value: &Value, key: &str| value.get(key).map(plain).filter(|text| text != "null").unwrap_or_default();
    match (&cli.command, answer) {
        (Command::Host(HostCommand::List), Value::Array(hosts)) => {
            let rows: Vec<Vec<String>> = hosts
                .iter()
                .map(|host| {
                    let mac = host.get("macs").and_then(|macs| macs.get(0)).map(plain).unwrap_or_default();
                    vec![text(host, "name"), mac, text(host, "word"), text(host, "sentence")]
                })
                .collect();
            say(&table(&["NAME", "MAC", "STATE", "WHAT HAPPENS NOW"], &rows));
        }
        (Command::Image(ImageCommand::List), Value::Array(images)) => {
            let rows: Vec<Vec<String>> = images
                .iter()
                .map(|image| {
                    let digest: String = text(image, "digest").chars().take(12).collect();
                    vec![text(image, "name"), text(image, "kind"), text(image, "size_bytes"), digest]
                })
                .collect();
            say(&table(&["NAME", "KIND", "BYTES", "SHA-256"], &rows));
        }
        (Command::Profile(ProfileCommand::List), Value::Array(profiles)) => {
            let rows: Vec<Vec<String>> = profiles
                .iter()
                .map(|profile| vec![text(profile, "name"), text(profile, "title"), text(profile, "description")])
                .collect();
            say(&table(&["NAME", "TITLE", "WHAT IT IS"], &rows));
        }
        (Command::Install(args), _) => {
            say(&format!("Armed: {} erases its disk at the next network boot, or at once if it waits.", args.host));
        }
        (Command::Cancel { host }, _) => say(&format!("{host} is no longer armed, and nothing runs on it.")),
        (Command::Resume { host }, _) => say(&format!("{host} goes on.")),
        (Command::Backup { file }, _) => say(&format!("The inventory is in {}.", file.display())),
        (_, Value::String(content)) => say(content),
        (_, other) => say(&serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}
