//! A command as calls of the API.

use super::{
    AlarmCommand, Command, HostCommand, ImageCommand, OledCommand, ProfileCommand, TokenCommand, UserCommand, fetch,
    import, oled, password,
    show::{Shown, event_line},
    update,
};
use anyhow::{Context, bail};
use hyper::Method;
use rackberry::cli::{Client, encode};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How often a command that follows history looks for more.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A mistake in the command itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(String);

/// Asks the box, and says what it answered.
///
/// # Errors
/// Whatever the box refuses, and [`Usage`].
pub async fn ask(client: &Client, command: &Command, shown: &Shown) -> anyhow::Result<()> {
    let answer = match command {
        Command::Image(ImageCommand::Import { file, name, sha256, as_it_is, origin }) if fetch::is_url(file) => {
            return fetch::import(client, file, name.as_deref(), sha256.as_deref(), *as_it_is, origin, shown).await;
        }
        Command::Profile(ProfileCommand::Get { profile, medium, size, allow_private }) => {
            return fetch::media(client, profile, medium.as_deref(), *size, *allow_private, shown).await;
        }
        Command::Host(command) => host(client, command).await?,
        Command::Install(args) => {
            let parameters = parameters(&args.set)?;
            let body =
                json!({ "profile": args.profile, "disk": args.disk, "parameters": parameters, "erase": args.yes });
            client.call(Method::POST, &format!("/hosts/{}/install", encode(&args.host)), Some(body)).await?
        }
        Command::Confirm { host, code: Some(code), .. } => {
            let path = format!("/hosts/{}/confirm", encode(host));
            client.call(Method::POST, &path, Some(json!({ "code": code }))).await?
        }
        Command::Confirm { host, code: None, .. } => {
            client.call(Method::POST, &format!("/hosts/{}/ask", encode(host)), None).await?
        }
        Command::Live { host, profile: Some(profile), set, .. } => {
            let body = json!({ "profile": profile, "parameters": parameters(set)? });
            client.call(Method::POST, &format!("/hosts/{}/live", encode(host)), Some(body)).await?
        }
        Command::Live { host, profile: None, .. } => {
            client.call(Method::DELETE, &format!("/hosts/{}/live", encode(host)), None).await?
        }
        Command::Power { host, action, yes } => {
            let path = format!("/hosts/{}/power", encode(host));
            match action.verb() {
                None => client.call(Method::GET, &path, None).await?,
                Some(verb) => client.call(Method::POST, &path, Some(json!({ "verb": verb, "interrupt": yes }))).await?,
            }
        }
        Command::Cancel { host } => client.call(Method::POST, &format!("/hosts/{}/cancel", encode(host)), None).await?,
        Command::Resume { host } => client.call(Method::POST, &format!("/hosts/{}/resume", encode(host)), None).await?,
        Command::Image(command) => image(client, command, shown).await?,
        Command::Profile(command) => profile(client, command).await?,
        Command::Events { host, follow } => return events(client, host.as_deref(), *follow, shown).await,
        Command::Alarm(AlarmCommand::List) => client.call(Method::GET, "/alarms", None).await?,
        Command::Alarm(AlarmCommand::Settle { id }) => {
            client.call(Method::POST, &format!("/alarms/{}/settle", encode(id)), None).await?
        }
        Command::User(command) => user(client, command).await?,
        Command::Token(command) => token(client, command).await?,
        Command::Backup { file } => {
            let bytes = client.download("/backup", file).await?;
            json!({ "backup": std::path::absolute(file)?, "bytes": bytes })
        }
        Command::Oled(OledCommand::Preview(args)) => return oled::preview(client, args, shown).await,
        Command::Status => client.call(Method::GET, "/status", None).await?,
        Command::Update(args) => return update::update(client, args, shown).await,
        Command::Rollback => {
            client.call(Method::POST, "/update/rollback", None).await?;
            return update::follow(client, shown).await;
        }
        Command::Serve(_)
        | Command::CheckConfig { .. }
        | Command::Config(_)
        | Command::NetUp { .. }
        | Command::Restore { .. }
        | Command::CardSetup(_)
        | Command::ImportWorker
        | Command::UpdateHelper(_)
        | Command::ClockHelper(_)
        | Command::Initrd(_)
        | Command::Ramroot(_)
        | Command::Openapi => bail!("this command needs no running daemon"),
    };
    shown.answer(command, &answer);
    Ok(())
}

/// `KEY=VALUE` pairs as an object.
fn parameters(pairs: &[String]) -> anyhow::Result<Map<String, Value>> {
    let pairs = pairs.iter().map(|pair| key_value(pair).map(|(key, value)| (key.to_owned(), Value::from(value))));
    Ok(pairs.collect::<Result<_, _>>()?)
}

fn key_value(pair: &str) -> Result<(&str, &str), Usage> {
    pair.split_once('=').ok_or_else(|| Usage(format!("\"{pair}\" is no KEY=VALUE")))
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
            let mut body = Map::new();
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
                } else if key.ends_with("_pin") {
                    let number = value.parse::<u8>();
                    Value::from(number.map_err(|_| Usage(format!("{key} takes a GPIO number, and not \"{value}\"")))?)
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

async fn image(client: &Client, command: &ImageCommand, shown: &Shown) -> anyhow::Result<Value> {
    Ok(match command {
        ImageCommand::List => client.call(Method::GET, "/images", None).await?,
        ImageCommand::Rm { image } => client.call(Method::DELETE, &format!("/images/{}", encode(image)), None).await?,
        ImageCommand::Verify { image } => {
            client.call(Method::POST, &format!("/images/{}/verify", encode(image)), None).await?
        }
        ImageCommand::Fetches => client.call(Method::GET, "/fetches", None).await?,
        ImageCommand::Cancel { fetch } => client.call(Method::DELETE, &format!("/fetches/{fetch}"), None).await?,
        ImageCommand::Prune { yes } => client.call(Method::POST, "/prune", Some(json!({ "yes": yes }))).await?,
        ImageCommand::Import { file, name, sha256, as_it_is, origin } => {
            if let Some(option) = origin.of_url() {
                return Err(Usage(format!("{option} goes with a URL alone, and this is a file")).into());
            }
            let stem = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = stem.split('.').next().unwrap_or_default();
            let name = name.as_deref().unwrap_or(stem);
            import::import(client, file, name, sha256.as_deref(), *as_it_is, origin, shown).await?
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
        ProfileCommand::Media { profile } => {
            client.call(Method::GET, &format!("/profiles/{}/media", encode(profile)), None).await?
        }
        ProfileCommand::Get { .. } => Value::Null,
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

async fn user(client: &Client, command: &UserCommand) -> anyhow::Result<Value> {
    let path = |name: &str| format!("/users/{}", encode(name));
    Ok(match command {
        UserCommand::List => client.call(Method::GET, "/users", None).await?,
        UserCommand::Add { name, role } => {
            let body = json!({ "name": name, "password": password::read(name)?, "role": role.word() });
            client.call(Method::POST, "/users", Some(body)).await?
        }
        UserCommand::Passwd { name } => {
            let body = json!({ "password": password::read(name)? });
            client.call(Method::PATCH, &path(name), Some(body)).await?
        }
        UserCommand::Role { name, role } => {
            client.call(Method::PATCH, &path(name), Some(json!({ "role": role.word() }))).await?
        }
        UserCommand::Rm { name } => client.call(Method::DELETE, &path(name), None).await?,
    })
}

async fn token(client: &Client, command: &TokenCommand) -> anyhow::Result<Value> {
    Ok(match command {
        TokenCommand::List => client.call(Method::GET, "/tokens", None).await?,
        TokenCommand::Add { name, role } => {
            client.call(Method::POST, "/tokens", Some(json!({ "name": name, "role": role.word() }))).await?
        }
        TokenCommand::Rm { name } => client.call(Method::DELETE, &format!("/tokens/{}", encode(name)), None).await?,
    })
}

async fn events(client: &Client, host: Option<&str>, follow: bool, shown: &Shown) -> anyhow::Result<()> {
    let host = encode(host.unwrap_or_default());
    let first = client.call(Method::GET, &format!("/events?host={host}"), None).await?;
    let mut list = first.as_array().cloned().unwrap_or_default();
    list.reverse();
    let mut last = 0;
    loop {
        for event in &list {
            last = event.get("seq").and_then(Value::as_u64).unwrap_or(last);
            shown.line(&if shown.json { event.to_string() } else { event_line(event) });
        }
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let more = client.call(Method::GET, &format!("/events?host={host}&after={last}"), None).await?;
        list = more.as_array().cloned().unwrap_or_default();
    }
}
