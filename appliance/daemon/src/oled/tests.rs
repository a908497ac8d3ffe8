//! The button and an update that a stick brought.

use super::*;
use crate::{config::GpioBackend, update};
use std::time::Instant;

const PIN: u8 = 23;
const PATIENCE: Duration = Duration::from_secs(90);

/// Presses the button as a person does.
async fn press(state_dir: &Path) {
    let pin = state_dir.join(format!("gpio/{PIN}"));
    for level in ["0", "1"] {
        std::fs::write(&pin, level).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_press_installs_the_update_of_a_stick_and_only_while_the_display_asks() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, bundle) = update::tests::served(folder.path());
    let state_dir = folder.path().join("state");
    let inventory = Inventory::open(crate::inventory::OpenOptions::new(&state_dir)).unwrap();
    let updates = Updates::new(Some(socket), &state_dir);
    let mut config = Config { gpio: GpioBackend::Files, ..Config::default() };
    config.oled.confirm_gpio = Some(PIN);
    let (_network, network) = watch::channel(Arc::default());
    let (stop, stopped) = watch::channel(false);
    let shell = Shell {
        config: Arc::new(config),
        inventory: inventory.clone(),
        auth: Auth::new(inventory.clone()).await.unwrap(),
        display: Display::default(),
        consent: Consent::default(),
        network,
        state_dir: Arc::new(state_dir.clone()),
        updates: updates.clone(),
        sensors: Sensors::default(),
    };
    let shown = tokio::spawn(run(shell, stopped.clone()));
    let sys = folder.path().join("sys");
    tokio::spawn(update::watch_sticks(updates.clone(), inventory.clone(), sys.clone(), stopped));
    let begun = Instant::now();
    while !state_dir.join("gpio").is_dir() {
        assert!(begun.elapsed() < PATIENCE, "the pins are not read");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A bundle that somebody loaded by the page is for the page to install.
    let (loading, whole) = (updates.clone(), bundle.clone());
    let loaded = tokio::task::spawn_blocking(move || {
        let mut upload = loading.upload().unwrap();
        upload.write(&whole).unwrap();
        upload
    });
    updates.keep(loaded.await.unwrap()).await.unwrap();
    for _ in 0..3 {
        press(&state_dir).await;
    }
    assert_eq!(updates.work(), None, "nothing was asked");
    std::fs::create_dir_all(folder.path().join("stick")).unwrap();
    std::fs::write(folder.path().join("stick/rackberry-update.bin"), &bundle).unwrap();
    update::tests::plug(&sys, "sdb", 1, 1);
    let begun = Instant::now();
    while updates.work().is_none() {
        assert!(begun.elapsed() < PATIENCE, "no press counted");
        press(&state_dir).await;
    }
    assert!(inventory.snapshot().alarms.contains_key(update::STICK), "it was asked for");
    assert_eq!(updates.work().unwrap().version, "0.2.0");
    stop.send_replace(true);
    shown.await.unwrap();
}
