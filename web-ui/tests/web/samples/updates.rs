//! The versions on the card, and how another one gets there.

use super::Samples;
use rackberry_web::views::*;

impl<F: Fn(&str) -> String> Samples<F> {
    pub fn updates(&self, card: CardView) -> UpdatesPage {
        UpdatesPage { shell: self.shell(Section::Updates), card: Some(card), ..UpdatesPage::default() }
    }

    /// A card as it came.
    pub fn card_plain(&self) -> CardView {
        CardView { version: self.t("0.1.0"), slot: self.t("a"), admin: true, ..CardView::default() }
    }

    /// A bundle waits, and there is a version to go back to.
    pub fn card(&self) -> CardView {
        CardView {
            development_key: true,
            other: OtherSlot::Ready,
            other_version: self.t("0.0.9"),
            bundle: Some(BundleView {
                version: self.t("0.2.0"),
                bytes: 78_799_872,
                notes: self.t("Leases survive a change of the clock. Pages load faster."),
            }),
            stick: self.t("It brought version 0.2.0."),
            ..self.card_plain()
        }
    }

    pub fn card_writing(&self, restarts: bool) -> CardView {
        let step = if restarts { "The box starts again" } else { "Writing slot b" };
        let work = WorkView { step: self.t(step), percent: 41, restarts, failed: String::new() };
        CardView { work: Some(work), ..self.card() }
    }

    pub fn updates_failed(&self) -> UpdatesPage {
        let failed = self.t("Slot b of the card cannot be written. The card may be worn out.");
        let card = CardView {
            other: OtherSlot::Failed,
            bundle: Some(BundleView { version: self.t("0.2.1"), bytes: 1, notes: String::new() }),
            work: Some(WorkView { failed, ..WorkView::default() }),
            last_failure: self.t("The update to 0.2.0 failed: the page does not answer."),
            ..self.card()
        };
        UpdatesPage {
            problem: self.t("This is no bundle of this box: it does not begin as one."),
            ..self.updates(card)
        }
    }

    pub fn updates_elsewhere(&self) -> UpdatesPage {
        UpdatesPage {
            shell: self.shell(Section::Updates),
            elsewhere: self.t("This box does not run from its own SD card: its updates come as packages (apt)."),
            ..UpdatesPage::default()
        }
    }
}
