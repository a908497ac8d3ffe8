//! A display that fails, beside clients that want addresses.

use super::*;

/// How often the display's bus fails.
const FAILURES: u64 = 10_000;

/// A bus that fails so often in every way there is, some of them slow, and works from then on.
struct FailingBus(Arc<AtomicU64>);

impl ErrorType for FailingBus {
    type Error = ErrorKind;
}

impl I2c for FailingBus {
    fn transaction(&mut self, _: u8, _: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        let sources = [NoAcknowledgeSource::Address, NoAcknowledgeSource::Data, NoAcknowledgeSource::Unknown];
        let missing = sources.map(ErrorKind::NoAcknowledge);
        let kinds = [ErrorKind::Bus, ErrorKind::ArbitrationLoss, ErrorKind::Overrun, ErrorKind::Other];
        let failed = self.0.fetch_add(1, Ordering::Relaxed);
        if failed >= FAILURES {
            return Ok(());
        }
        if failed.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(*missing.iter().chain(&kinds).nth(usize::try_from(failed % 7).unwrap()).unwrap())
    }
}

/// A bus that takes a write and never ends it.
struct StuckBus;

impl ErrorType for StuckBus {
    type Error = ErrorKind;
}

impl I2c for StuckBus {
    fn transaction(&mut self, _: u8, _: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        loop {
            std::thread::park();
        }
    }
}

/// A display's thread on such a bus, with a new picture every millisecond until the sender falls.
fn display<B: I2c + 'static>(bus: impl Fn() -> B + Send + 'static) -> (Report, Arc<AtomicBool>)
where
    B::Error: std::fmt::Display,
{
    let (frames, shown) = watch::channel(None);
    let (report, ended) = (Report::default(), Arc::new(AtomicBool::new(false)));
    let open = move || Ok::<_, ErrorKind>(Driver::new(bus(), Controller::Ssd1306, &Oled::default()));
    let pace = Pace { first: Duration::from_micros(500), most: Duration::from_millis(1), ..Pace::default() };
    writer::spawn(shown, open, pace, report.clone());
    let over = Arc::clone(&ended);
    std::thread::spawn(move || {
        for hosts in 0.. {
            let view = StatusView { hosts, ..StatusView::default() };
            frames.send_replace(Some(Arc::new(Frame { picture: picture(&view, 0, Panel::Tall), dimmed: false })));
            std::thread::sleep(Duration::from_millis(1));
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
    });
    (report, ended)
}

#[test]
fn a_display_that_fails_ten_thousand_times_or_hangs_costs_no_dhcp_answer() {
    let Some(rack) = Rack::new("oled") else { return };
    let shell = rack.serve(Mode::Server, Duration::ZERO);
    shell.reaches(Stage::Server);
    let socket = rack.join("client", None).socket();
    let began = Instant::now();
    let (hanging, hangs_on) = display(|| StuckBus);
    let tried = Arc::new(AtomicU64::new(0));
    let bus = Arc::clone(&tried);
    let (failing, fails_on) = display(move || FailingBus(Arc::clone(&bus)));
    let (mut asked, mut missed, mut slowest) = (0_u64, 0, Duration::ZERO);
    let until = began + Duration::from_secs(240);
    loop {
        // Fewer than the pool has for strangers, each at a pace that is no flood.
        std::thread::sleep(Duration::from_millis(10));
        let machine = u8::try_from(asked % 90).unwrap();
        let asking = Instant::now();
        let answer = lease(&socket, MacAddr([2, 9, 0, 0, 0, machine]), Duration::from_secs(30));
        slowest = slowest.max(asking.elapsed());
        asked += 1;
        missed += u64::from(answer.is_none());
        let recovered = failing.health() == Some(Health::Shown);
        if recovered && failing.failures() >= FAILURES && hanging.health() == Some(Health::Stuck) {
            break;
        }
        assert!(
            Instant::now() < until,
            "{} failures, {:?}, {:?}",
            failing.failures(),
            failing.health(),
            hanging.health()
        );
    }
    for ended in [hangs_on, fails_on] {
        ended.store(true, Ordering::Relaxed);
    }
    println!(
        "{} failures of one display's bus and another one stuck for {:?}: {asked} clients asked, {missed} missed an \
         answer, the slowest lease took {slowest:?}",
        failing.failures(),
        began.elapsed()
    );
    assert_eq!(missed, 0);
    drop(shell);
}
