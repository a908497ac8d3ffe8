//! A clock to turn by hand, and machines and installs to work with.

use rackberry::inventory::{ApplyError, Clock, Identity, Inventory, OpenOptions, StoreError, Tx};
use rackberry_core::{
    event::{Actor, BootKey, EventKind},
    host::{Arch, Host, MacAddr, SmbiosUuid},
    id::HostId,
    image::{Compression, Digest},
    install::{ARM_TTL, Binding, ConsentRule, Install, InstallState, Plan, PlannedImage},
    profile::Profile,
    task::{BootOrder, DiskRule, SeedKind},
    text::CleanText,
    time::WallTime,
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Time stands still until a test moves it.
#[derive(Debug, Clone)]
pub struct HandClock(Arc<Mutex<(String, Duration, i64)>>);

impl HandClock {
    pub fn new() -> Self {
        HandClock(Arc::new(Mutex::new(("boot-1".to_owned(), Duration::from_secs(100), 1_780_000_000_000))))
    }

    pub fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        now.1 += time;
        now.2 += i64::try_from(time.as_millis()).unwrap();
    }

    /// Power off and on: the boot-time clock begins anew and there is no clock chip.
    pub fn power_cycle(&self) {
        let mut now = self.0.lock().unwrap();
        now.0.push('+');
        now.1 = Duration::from_secs(5);
        now.2 = 0;
    }

    pub fn set_wall(&self, millis: i64) {
        self.0.lock().unwrap().2 = millis;
    }
}

impl Clock for HandClock {
    fn boot_id(&self) -> String {
        self.0.lock().unwrap().0.clone()
    }

    fn boottime(&self) -> Duration {
        self.0.lock().unwrap().1
    }

    fn wall(&self) -> WallTime {
        WallTime(self.0.lock().unwrap().2)
    }
}

pub fn open(dir: &Path) -> Inventory {
    Inventory::open(OpenOptions::new(dir)).unwrap()
}

pub fn open_by(dir: &Path, clock: &HandClock) -> Inventory {
    Inventory::open(OpenOptions { clock: Arc::new(clock.clone()), ..OpenOptions::new(dir) }).unwrap()
}

pub fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x52, 0x54, a, b, c, d])
}

pub fn uuid(number: u8) -> SmbiosUuid {
    SmbiosUuid::from_bytes([0x56, 0x4d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, number]).unwrap()
}

pub fn asks(mac_number: u32, uuid_number: Option<u8>, serial: Option<&str>) -> Identity {
    Identity { mac: mac(mac_number), uuid: uuid_number.map(uuid), serial: serial.map(CleanText::new) }
}

pub async fn observe(inventory: &Inventory, identity: Identity) -> Arc<Host> {
    inventory.transact(move |tx| tx.observe(&identity, None, None)).await.unwrap()
}

/// Reads within a transaction.
pub async fn look<T: Send + 'static>(inventory: &Inventory, look: impl FnOnce(&mut Tx<'_>) -> T + Send + 'static) -> T {
    inventory.transact(move |tx| Ok::<_, StoreError>(look(tx))).await.unwrap()
}

pub fn install(tx: &mut Tx<'_>, host: HostId) -> Install {
    let toml = "title = \"Debian 13\"\nimage = \"debian-13\"\narch = \"x86_64\"\n";
    let profile = Profile::parse("debian-13", toml, &BTreeMap::new()).unwrap();
    let known = tx.host(host).unwrap();
    let bound = Binding { macs: known.macs.clone(), uuid: known.uuid };
    let now = tx.now();
    Install {
        id: tx.install_id().unwrap(),
        host,
        plan: Plan {
            profile: profile.name.clone(),
            title: profile.title.clone(),
            way: profile.way,
            boot: None,
            arch: Arch::X86_64,
            image: PlannedImage {
                digest: Digest([7; 32]),
                name: "debian-13".into(),
                size_bytes: 1000,
                compression: Compression::None,
                raw_bytes: Some(1000),
            },
            disk: DiskRule::Only,
            seen_disk: None,
            erase: false,
            hostname: known.name.clone(),
            parameters: BTreeMap::new(),
            files: Vec::new(),
            seed: SeedKind::PlainFiles,
            grow: true,
            boot_order: BootOrder::NetworkFirst,
        },
        state: InstallState::armed(&profile.workflow.unwrap(), bound, ConsentRule::Never, now, ARM_TTL),
        created: now,
        created_wall: tx.wall(),
        by: "ada".into(),
    }
}

pub async fn arm(inventory: &Inventory, host: HostId) -> Arc<Install> {
    inventory
        .transact(move |tx| {
            let install = install(tx, host);
            tx.arm(install)
        })
        .await
        .unwrap()
}

pub const BOOT: BootKey = BootKey(Digest([1; 32]));

/// The events that bring an armed install to waiting for its first boot.
pub fn to_first_boot() -> Vec<EventKind> {
    let mut kinds = vec![EventKind::AgentHello { boot: BOOT, address: "192.0.2.7".into() }];
    for task in ["write-image", "configure", "restart"] {
        kinds.push(EventKind::TaskClaimed { task: task.into(), attempt: 1, boot: BOOT });
        kinds.push(EventKind::TaskStarted { task: task.into(), attempt: 1 });
        kinds.push(EventKind::TaskDone { task: task.into(), attempt: 1 });
    }
    kinds
}

pub async fn apply(inventory: &Inventory, install: &Install, kind: EventKind) -> Result<Arc<Install>, ApplyError> {
    use rackberry::inventory::TransactError;
    let id = install.id;
    match inventory.transact(move |tx| tx.apply(id, Actor::Host, kind)).await {
        Ok(install) => Ok(install),
        Err(TransactError::Failed(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}
