//! Bundles that are broken in every way that shows before a start: each is refused with its reason, and not a byte of the card
//! changes.

use super::{super::bundle::BundleError, super::keeper::KeeperError, *};
use rackberry_core::update::Refusal;

/// One kind of broken bundle, and whether it was refused for the right reason.
type Kind = (&'static str, Vec<u8>, fn(&BundleError) -> bool);

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

fn find(bytes: &[u8], wanted: &str) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes()).unwrap()
}

/// A signed file of this content, whatever it is.
fn made(bench: &Bench, content: &[u8]) -> Vec<u8> {
    joined(&bench.signed(content), content)
}

fn kinds(bench: &Bench) -> Vec<Kind> {
    let body = root(2, 150_000);
    let good = bench.bundle(&body, |_| {});
    let line = header(&body).line().unwrap();
    let stranger = Bench::new();
    let other = bench.bundle(&root(3, 150_000), |_| {});
    let signature = String::from_utf8(good[19..1024].iter().copied().take_while(|byte| *byte != 0).collect()).unwrap();
    // The first bytes of a signature are "ED", for prehashed; "Ed" is what minisign made before.
    let legacy = signature.replacen("\nRU", "\nRW", 1);
    assert_ne!(legacy, signature);
    let after_lines = find(&good, "trusted comment: test") + "trusted comment: test\n".len();
    let cut = |length: usize| good[..length].to_vec();
    let read = |error: &BundleError| matches!(error, BundleError::NoSignature(_));
    let bad = |error: &BundleError| matches!(error, BundleError::BadSignature);
    let none = |error: &BundleError| matches!(error, BundleError::NoBundle);
    let mut short = body.clone();
    short[40..48].copy_from_slice(&(body.len() as u64 + 1).to_le_bytes());
    let huge = root(4, usize::try_from(SLOT_BYTES).unwrap() + 1);
    vec![
        ("nothing", Vec::new(), |e| matches!(e, BundleError::Empty)),
        ("noise", root(9, 50_000), none),
        ("an image of a whole card", vec![0; 100_000], none),
        ("cut off in its first word", cut(10), |e| matches!(e, BundleError::Short { length: 10 })),
        ("cut off in its signature", cut(300), |e| matches!(e, BundleError::Short { .. })),
        ("cut off before its header", cut(1024), |e| matches!(e, BundleError::Short { .. })),
        ("cut off in its header", cut(1100), bad),
        ("cut off in its root", cut(good.len() / 2), bad),
        ("cut off by one byte", cut(good.len() - 1), bad),
        ("one byte too long", [good.clone(), vec![0]].concat(), bad),
        ("twice behind itself", [good.clone(), good.clone()].concat(), bad),
        ("changed in its first word", flipped(&good, 3), none),
        ("changed in its untrusted comment", flipped(&good, find(&good, "rackberry update")), read),
        ("changed in its key's number", flipped(&good, find(&good, "\nRU") + 6), |e| {
            matches!(e, BundleError::OtherKey | BundleError::NoSignature(_))
        }),
        ("changed in its signature", flipped(&good, find(&good, "\nRU") + 60), |e| {
            matches!(e, BundleError::BadSignature | BundleError::NoSignature(_))
        }),
        ("changed in its trusted comment", flipped(&good, find(&good, "trusted comment: test") + 18), |e| {
            matches!(e, BundleError::BadSignature | BundleError::NoSignature(_))
        }),
        ("changed in its second signature", flipped(&good, after_lines + 20), |e| {
            matches!(e, BundleError::BadSignature | BundleError::NoSignature(_))
        }),
        ("with something behind its signature", flipped(&good, 1000), read),
        ("changed in its header", flipped(&good, 1040), bad),
        ("changed in its root", flipped(&good, good.len() - 1000), bad),
        ("signed by somebody else", stranger.bundle(&body, |_| {}), |e| matches!(e, BundleError::OtherKey)),
        ("with the signature of another bundle", [&other[..1024], &good[1024..]].concat(), bad),
        ("with a signature of the old kind", joined(&legacy, &good[1024..]), read),
        ("without a signature", [&good[..19], &vec![0; 1005], &good[1024..]].concat(), read),
        ("for another product", bench.bundle(&body, |h| h.product = "raspios".to_owned()), |e| {
            matches!(e, BundleError::Refused(Refusal::Product { .. }))
        }),
        ("for another processor", bench.bundle(&body, |h| h.arch = "x86_64".to_owned()), |e| {
            matches!(e, BundleError::Refused(Refusal::Arch { .. }))
        }),
        ("for another board", bench.bundle(&body, |h| h.board = "pc".to_owned()), |e| {
            matches!(e, BundleError::Refused(Refusal::Board { .. }))
        }),
        ("below the floor", bench.bundle(&body, |h| h.version = Version(0, 0, 9)), |e| {
            matches!(e, BundleError::Refused(Refusal::Floor { .. }))
        }),
        ("for a later version", bench.bundle(&body, |h| h.needs = Version(0, 1, 1)), |e| {
            matches!(e, BundleError::Refused(Refusal::Needs { .. }))
        }),
        ("below its own floor", bench.bundle(&body, |h| h.floor = Version(0, 3, 0)), |e| {
            matches!(e, BundleError::Refused(Refusal::OwnFloor { .. }))
        }),
        ("too large for a slot", bench.bundle(&huge, |_| {}), |e| {
            matches!(e, BundleError::Refused(Refusal::TooLarge { .. }))
        }),
        ("larger than any bundle", vec![b'r'; usize::try_from(SLOT_BYTES).unwrap() + 20_000], |e| {
            matches!(e, BundleError::TooLarge { .. })
        }),
        ("of a later format", made(bench, b"{\"format\": 2}\nhsqs"), |e| {
            matches!(e, BundleError::Refused(Refusal::Format { found: 2 }))
        }),
        ("with a header that is no JSON", made(bench, &[b"version: 2\n", &body[..]].concat()), |e| {
            matches!(e, BundleError::Refused(Refusal::Unreadable(_)))
        }),
        ("with a header that never ends", made(bench, &vec![b' '; 40_000]), |e| {
            matches!(e, BundleError::Refused(Refusal::Unreadable(_)))
        }),
        ("whose header knows another length", bench.bundle(&body, |h| h.root.length -= 1), |e| {
            matches!(e, BundleError::WrongLength { .. })
        }),
        ("whose header knows another digest", bench.bundle(&body, |h| h.root.sha256 = Digest([0; 32])), |e| {
            matches!(e, BundleError::WrongDigest)
        }),
        ("without a root", made(bench, &line), |e| matches!(e, BundleError::WrongLength { found: 0, .. })),
        ("whose root is no squashfs", bench.bundle(&vec![7; 5000], |_| {}), |e| matches!(e, BundleError::NoRoot)),
        ("whose squashfs is longer than itself", bench.bundle(&short, |_| {}), |e| matches!(e, BundleError::NoRoot)),
    ]
}

#[test]
fn every_broken_bundle_is_refused_for_its_reason_and_the_card_stays_as_it_was() {
    let bench = Bench::new();
    let mut keeper = bench.keeper(Slot::A, false);
    keeper.record.floor = Some(OLD);
    let before = bench.card_bytes();
    let kinds = kinds(&bench);
    assert!(kinds.len() >= 20);
    for (kind, bytes, fits) in &kinds {
        let error = match keeper.install(&bench.file(bytes), &mut quiet) {
            Err(KeeperError::Bundle(error)) => error,
            other => panic!("a bundle {kind}: {other:?}"),
        };
        assert!(fits(&error), "a bundle {kind}: {error:?}");
        let sentence = error.to_string();
        assert!(sentence.ends_with('.') && !sentence.contains('\u{1b}'), "a bundle {kind}: {sentence}");
        assert!(bench.card_bytes() == before, "a bundle {kind} changed the card");
        assert_eq!(keeper.record.last, None, "a bundle {kind}");
    }
    println!("update: {} kinds of broken bundle refused, and not a byte written", kinds.len());
    // What all of them are broken from is taken.
    keeper.install(&bench.file(&bench.bundle(&root(2, 150_000), |_| {})), &mut quiet).unwrap();
}

#[test]
fn a_changed_bit_in_any_byte_before_the_root_is_found() {
    let bench = Bench::new();
    let keeper = bench.keeper(Slot::A, false);
    let good = bench.bundle(&root(2, 5000), |_| {});
    let end = usize::try_from(SIGNED_AT).unwrap() + header(&root(2, 5000)).line().unwrap().len();
    let file = bench.file(&good);
    assert!(keeper.check(&file, &mut |_, _| {}).is_ok());
    for at in 0..end {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(keeper.check(&bench.file(&damaged), &mut |_, _| {}).is_err(), "byte {at}");
    }
}

#[test]
fn a_root_that_cannot_be_started_is_refused_and_leaves_nothing_that_looks_like_one() {
    for why in ["it has no init", "it has no program", "its program does not run: exit status: 1"] {
        let bench = Bench::new();
        let mut keeper = bench.keeper(Slot::A, false);
        keeper.inspect = Box::new(move |_| Err(why.to_owned()));
        let file = bench.file(&bench.bundle(&root(2, 150_000), |_| {}));
        let error = keeper.install(&file, &mut quiet).unwrap_err();
        assert!(matches!(&error, KeeperError::Unfit { slot: Slot::B, .. }), "{error}");
        assert!(error.to_string().contains(why));
        assert_eq!(keeper.card.block().unwrap().boot().first, Slot::A);
        assert!(!keeper.card.block().unwrap().boot().trying);
        assert_eq!(&bench.card[2].bytes()[..4], [0; 4]);
        assert!(matches!(keeper.roll_back(&mut quiet), Err(KeeperError::NothingThere { .. })));
    }
}

#[test]
fn a_file_that_changes_while_it_is_written_gets_no_trial() {
    let bench = Bench::new();
    let mut keeper = bench.keeper(Slot::A, false);
    let good = bench.bundle(&root(2, 150_000), |_| {});
    let file = bench.file(&good);
    let path = bench.folder.path().join("bundle");
    let evil = flipped(&good, good.len() - 10);
    let mut once = Some(evil);
    let error = keeper
        .install(&file, &mut |step, done, total| {
            // Its sender may write to it whenever it likes: here, once it was found to be good.
            if step == super::super::words::Step::Verify && done == total {
                once.take().into_iter().for_each(|evil| std::fs::write(&path, evil).unwrap());
            }
        })
        .unwrap_err();
    assert!(error.to_string().contains("changed while it was read"), "{error}");
    assert!(!keeper.card.block().unwrap().boot().trying);
    assert_eq!(&bench.card[2].bytes()[..4], [0; 4]);
}

#[test]
fn a_box_takes_what_it_is_for() {
    let own = facts();
    header(&root(1, 100)).check(&own).unwrap();
}
