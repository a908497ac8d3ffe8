//! A yes from a person at the box: without it nothing is erased, and each is for one host. The digits of a question stand on the
//! panel and nowhere else.

use super::*;
use std::path::PathBuf;
use system_tests::{Appliance, site::cli};

/// The pin of the button; a file, as there is no header here.
const BUTTON: u8 = 27;

/// A box whose display asks before every erase; its panel lies on a bus that no machine has.
fn strict(patience_s: u32) -> String {
    format!(
        "[install]\nconsent = \"always\"\nconsent_s = {patience_s}\nmax_writes = 5000\nmax_writes_per_image = 5000\n\
         [gpio]\nbackend = \"files\"\n[oled]\ncontroller = \"ssd1306\"\nbus = \"linux\"\ni2c = 250\n\
         confirm_gpio = {BUTTON}\n"
    )
}

/// The button beside the display.
struct Button(PathBuf);

impl Button {
    fn of(appliance: &Appliance) -> Self {
        Self(appliance.state_dir().join("gpio").join(BUTTON.to_string()))
    }

    fn set(&self, pressed: bool) -> Result<()> {
        let new = self.0.with_extension("test");
        std::fs::write(&new, if pressed { "0" } else { "1" })?;
        Ok(std::fs::rename(new, &self.0)?)
    }

    /// One press, held until `done`.
    fn press(&self, what: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
        self.set(true)?;
        until(what, done)?;
        self.set(false)?;
        // The box reads it every 20 ms and takes 30 for bouncing; a person is slower.
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    }
}

fn until(what: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
    let limit = Instant::now() + Duration::from_secs(240);
    while !done()? {
        ensure!(Instant::now() < limit, "not within 240 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// How many yeses are recorded.
fn given(api: &LocalApi) -> Result<usize> {
    Ok(counted(&api.events("")?, "consent_given"))
}

/// The question that the display shows: `asked`, `queued` and so on, and since when on the box's clock.
fn question(install: &Value) -> (String, u64) {
    let consent = install.pointer("/state/consent").cloned().unwrap_or_default();
    (text(&consent, "is").to_owned(), consent.get("at").and_then(Value::as_u64).unwrap_or_default())
}

/// Waits until the display has asked about any of them for long enough to be read; the host.
fn asked<'h>(api: &LocalApi, hosts: &'h [FakeHost]) -> Result<&'h FakeHost> {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let shown = api.get("/display")?;
        let notice = shown.pointer("/view/notice/consent").cloned().unwrap_or_default();
        if let Some(host) = hosts.iter().find(|host| host.mac.to_string() == text(&notice, "mac")) {
            ensure!(text(&notice, "digits") == "****", "the digits are told");
            let (_, at) = question(&install_of(api, host)?);
            let now = api.get(&format!("/hosts/{}", host.mac.hyphens()))?;
            let now = now.get("now").and_then(Value::as_u64).unwrap_or_default();
            if now.saturating_sub(at) > 1500 {
                return Ok(host);
            }
        }
        ensure!(Instant::now() < limit, "no question is shown: {notice}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Nothing that the box wrote down or tells could be the digits of a question, of which no test knows any: no word of four
/// digits, and no list of four. The panel of these boxes is on a bus that no machine has.
fn tells_no_digits(appliance: &Appliance, api: &LocalApi) -> Result<()> {
    let mut events = api.events("")?;
    for event in events.iter_mut().filter_map(Value::as_object_mut) {
        event.remove("seq");
    }
    // Its hardware and its plan have numbers of their own.
    let hosts = api.get("/hosts")?;
    let hosts = hosts.as_array().context("hosts are no list")?;
    let hosts: Vec<_> =
        hosts.iter().map(|host| json!([host.get("sentence"), host.pointer("/install/state")])).collect();
    let (alarms, shown) = (api.get("/alarms")?.to_string(), api.get("/display")?.to_string());
    let (events, hosts, log) = (json!(events).to_string(), json!(hosts).to_string(), appliance.log().text());
    for (what, text) in [("events", events), ("hosts", hosts), ("alarms", alarms), ("picture", shown), ("log", log)] {
        let told = four_digits(&text);
        ensure!(told.is_empty(), "the {what} tell {:?}", told.iter().take(20).collect::<Vec<_>>());
    }
    Ok(())
}

/// Words of four digits, and lists of four single ones; ports aside.
fn four_digits(text: &str) -> Vec<String> {
    const USUAL: [&str; 3] = ["4011", "8000", "8080"];
    let joined = |c: char| c.is_alphanumeric() || "-_.:/".contains(c);
    let word = |word: &&str| word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit()) && !USUAL.contains(word);
    let words = text.split(|c| !joined(c)).map(|word| word.trim_matches([':', '.', '-', '_', '/'])).filter(word);
    let lists = text.split(['[', ']']).filter(|list| {
        let list: Vec<&str> = list.split(',').map(str::trim).collect();
        list.len() == 4 && list.iter().all(|digit| digit.len() == 1 && digit.bytes().all(|byte| byte.is_ascii_digit()))
    });
    words.chain(lists).map(str::to_owned).collect()
}

#[test]
fn digits_would_be_found_if_they_were_told() {
    let told = r#"asked digits=0734 of [1, 2, 3, 4], "code":"9981","n":5521, say 1200. port=8000 2026-01-02 52:54:00:12:34 1234567"#;
    assert_eq!(four_digits(told), ["0734", "9981", "5521", "1200", "1, 2, 3, 4"]);
}

/// Its disk holds data.
fn used(host: FakeHost) -> FakeHost {
    let mut used = host;
    for disk in &mut used.facts.disks {
        disk.content.blank = false;
        disk.content.system = Some("Windows".into());
    }
    used
}

/// One question of its agent: whether it was told to write.
fn told_to_write(host: &FakeHost, token: &str) -> Result<bool> {
    let mut life = Life::new(Faults::default(), 1);
    let mut agent = FakeAgent::new(host, BOOT, token.to_owned(), &mut life);
    match agent.next(&[], MOMENT) {
        Said::Answer(Answer::Run { order, .. }) => {
            ensure!(matches!(*order, TaskOrder::WriteImage { .. }), "another order than the first");
            Ok(true)
        }
        Said::Answer(Answer::Wait { .. }) | Said::Nothing => Ok(false),
        other => anyhow::bail!("{} asked and got {other:?}", host.mac),
    }
}

/// Boots into the RAM OS and greets the box; the token of its agent.
fn boot(host: &FakeHost) -> Result<String> {
    let Script::RamOs { token, .. } = host.script(BOOT)? else {
        anyhow::bail!("{} was given another script than the RAM OS", host.mac)
    };
    let mut life = Life::new(Faults::default(), 1);
    let said = FakeAgent::new(host, BOOT, token.clone(), &mut life).hello();
    ensure!(matches!(said, Said::Answer(_)), "hello of {}: {said:?}", host.mac);
    Ok(token)
}

/// Machines that the box knows by a list, each with a system on its disk.
fn enrolled(site: &Site, api: &LocalApi, count: u32) -> Result<Vec<FakeHost>> {
    let crowd = site.crowd()?;
    let address = |number: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 64, 0)) + number);
    crowd.settle((1..=count).map(address))?;
    let hosts: Vec<FakeHost> = (1..=count).map(|number| used(FakeHost::new(number, address(number)))).collect();
    let list: Vec<String> = hosts.iter().map(|host| host.mac.to_string()).collect();
    api.call("POST", "/hosts", Some(&json!({ "list": list.join("\n") })))?;
    Ok(hosts)
}

#[test]
fn armed_hosts_erase_nothing_without_a_press_and_one_press_is_one_host() -> Result<()> {
    let count = 1000;
    let site = Site::new()?;
    let appliance = site.serve(&strict(600))?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let began = Instant::now();
    let hosts = enrolled(&site, &api, count)?;
    side_by_side(&site.room, 16, &hosts, |_, host| arm(&api, host))?;
    let armed = began.elapsed();
    let tokens = side_by_side(&site.room, THREADS, &hosts, |_, host| {
        let token = boot(host)?;
        // A busy box may not come to the question within a moment.
        until("it waits for a yes", || {
            ensure!(!told_to_write(host, &token)?, "{} was told to write", host.mac);
            Ok(["asked", "queued"].contains(&question(&install_of(&api, host)?).0.as_str()))
        })?;
        Ok(token)
    })?;
    let met = began.elapsed();
    let told = |hosts: &[FakeHost]| -> Result<Vec<usize>> {
        let told = side_by_side(&site.room, THREADS, hosts, |at, host| {
            told_to_write(host, tokens.get(at).context("its token")?)
        })?;
        Ok(told.into_iter().enumerate().filter(|(_, told)| *told).map(|(at, _)| at).collect())
    };
    ensure!(told(&hosts)?.is_empty(), "somebody was told to write without a yes");
    let consents = || -> Result<HashMap<String, usize>> {
        let mut counts = HashMap::new();
        for host in api.get("/hosts")?.as_array().into_iter().flatten() {
            *counts.entry(question(host.get("install").unwrap_or(&Value::Null)).0).or_default() += 1;
        }
        Ok(counts)
    };
    let wanted = HashMap::from([("asked".to_owned(), 1), ("queued".to_owned(), hosts.len() - 1)]);
    until("one question, all others behind it", || Ok(consents()? == wanted))?;
    let claimed = |api: &LocalApi| -> Result<usize> {
        let of_hosts = api.get("/hosts")?;
        let used = |host: &&Value| host.pointer("/install/state/arm/consumed").is_some_and(|at| !at.is_null());
        Ok(of_hosts.as_array().into_iter().flatten().filter(used).count())
    };
    ensure!(claimed(&api)? == 0 && given(&api)? == 0, "a permission was used");
    let waited = began.elapsed();

    let button = Button::of(&appliance);
    let mut winners = Vec::new();
    for presses in 1..=2 {
        let shown = asked(&api, &hosts)?;
        button.press("the press counts", || Ok(question(&install_of(&api, shown)?).0 == "given"))?;
        let at = hosts.iter().position(|host| host.mac == shown.mac).context("the host that was shown")?;
        let token = tokens.get(at).context("its token")?;
        until("its order", || site.room.enter(|| told_to_write(shown, token)))?;
        winners.push(at);
        ensure!(claimed(&api)? == presses && given(&api)? == presses, "one press, one host");
    }
    // Whoever was told before gets its order again until it says that it began.
    let others: Vec<usize> = told(&hosts)?.into_iter().filter(|at| !winners.contains(at)).collect();
    ensure!(others.is_empty(), "two presses opened {} hosts more", others.len());
    println!(
        "consent: {count} armed hosts asked {} times in {:.1} s (armed after {:.1} s, all met after {:.1} s) without a \
         press: 0 installer scripts, 0 orders to erase; 2 presses: {} hosts, after {:.1} s",
        2 * hosts.len(),
        waited.as_secs_f64(),
        armed.as_secs_f64(),
        met.as_secs_f64(),
        winners.len(),
        began.elapsed().as_secs_f64(),
    );
    Ok(())
}

#[test]
fn a_question_that_nobody_answers_ends_and_is_asked_again_when_somebody_wants_it() -> Result<()> {
    let site = Site::new()?;
    let appliance = site.serve(&strict(5))?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let hosts = enrolled(&site, &api, 1)?;
    let [host] = hosts.as_slice() else { anyhow::bail!("one host was asked for") };
    arm(&api, host)?;
    let name = host.mac.hyphens();
    let token = site.room.enter(|| boot(host))?;
    ensure!(!site.room.enter(|| told_to_write(host, &token))?, "nobody said yes yet");
    until("nobody confirmed", || Ok(question(&install_of(&api, host)?).0 == "denied"))?;
    let shown = api.get(&format!("/hosts/{name}"))?;
    assert!(text(&shown, "sentence").starts_with("Nobody confirmed at the box."), "{shown}");
    Button::of(&appliance).set(true)?;
    std::thread::sleep(Duration::from_millis(300));
    Button::of(&appliance).set(false)?;
    ensure!(
        !site.room.enter(|| told_to_write(host, &token))? && given(&api)? == 0,
        "a press counted for nothing shown"
    );

    let wrong = cli(&appliance, &["confirm", &name, "0000"])?;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("does not ask about this host now"), "{said}");
    assert_eq!(cli(&appliance, &["confirm", &name])?.status.code(), Some(2), "neither digits nor --again");
    // It may have ended once more before somebody gets there.
    until("asked again and confirmed", || {
        let again = cli(&appliance, &["confirm", &name, "--again"])?;
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        ensure!(again.status.success() || said.contains("nobody at the box is asked"), "{said}");
        asked(&api, &hosts)?;
        let button = Button::of(&appliance);
        button.set(true)?;
        std::thread::sleep(Duration::from_millis(500));
        button.set(false)?;
        Ok(given(&api)? == 1)
    })?;
    ensure!(site.room.enter(|| told_to_write(host, &token))?, "it was confirmed");
    let events = api.events("")?;
    assert!(counted(&events, "consent_expired") >= 1 && counted(&events, "consent_wanted") >= 1);
    tells_no_digits(&appliance, &api)
}

#[test]
fn a_box_that_is_killed_asks_anew_and_remembers_a_yes() -> Result<()> {
    let site = Site::new()?;
    let mut appliance = site.serve(&strict(600))?;
    site.import_image(&appliance)?;
    let api = site::api(&appliance);
    let hosts = enrolled(&site, &api, 2)?;
    for host in &hosts {
        arm(&api, host)?;
    }
    let tokens = side_by_side(&site.room, 1, &hosts, |_, host| {
        let token = boot(host)?;
        ensure!(!told_to_write(host, &token)?, "nobody said yes yet");
        Ok(token)
    })?;
    let first = asked(&api, &hosts)?.clone();
    let (_, before) = question(&install_of(&api, &first)?);
    appliance.kill()?;
    appliance.restart()?;
    until("the same question, asked anew", || {
        let (is, at) = question(&install_of(&api, &first)?);
        Ok(is == "asked" && at != before)
    })?;
    ensure!(asked(&api, &hosts)?.mac == first.mac, "the first stays the first");
    Button::of(&appliance).press("the press counts", || Ok(given(&api)? == 1))?;
    appliance.kill()?;
    appliance.restart()?;
    ensure!(question(&install_of(&api, &first)?).0 == "given", "a yes is durable");
    for (host, token) in hosts.iter().zip(&tokens) {
        let told = site.room.enter(|| told_to_write(host, token))?;
        ensure!(told == (host.mac == first.mac), "{}: {told}, the yes was for {}", host.mac, first.mac);
    }
    // A yes belongs to one permission: the next one takes its own.
    steer(&api, &first, "cancel")?;
    arm(&api, &first)?;
    let token = site.room.enter(|| boot(&first))?;
    ensure!(!site.room.enter(|| told_to_write(&first, &token))?, "a new permission takes a new yes");
    tells_no_digits(&appliance, &api)
}
