//! One run of a workflow on one host: the frozen plan, the Arm, and the state that events move.
//!
//! [`transition`] is the only way the state changes, [`plan()`] says what is due. Both are pure: the daemon records an
//! event, applies it, stores the result, and answers after the commit.

mod arm;
mod consent;
mod due;
mod plan;
mod state;
mod target;
mod transition;

pub use crate::hardware::SeenDisk;
pub use arm::{Arm, Binding};
pub use consent::{CONSENT_SETTLE, CONSENT_TRIES, Consent, ConsentRule, consent_place};
pub use due::{Action, Fleet, Limits, Next, next_for_agent, plan};
pub use plan::{LiveBoot, Plan, PlannedBoot, PlannedFile, PlannedImage, PlannedInitrd};
pub use state::{InstallState, InstallerTurn, Phase, TaskRun, TaskStatus};
pub use target::{target, unasked};
pub use transition::{Rejected, transition};

use crate::{
    id::{HostId, InstallId},
    text::CleanText,
    time::{Timestamp, WallTime},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a permission to erase lasts.
pub const ARM_TTL: Duration = Duration::from_secs(2 * 3600);
/// How long the same order may be given again to the same boot before anything was begun.
pub const REPEAT_WINDOW: Duration = Duration::from_secs(600);
/// How often an order may be given in all within [`REPEAT_WINDOW`].
pub const REPEAT_LIMIT: u32 = 3;
/// Stages of an installer that are written down; it may repeat itself for ever.
pub const STAGE_LIMIT: u32 = 60;
/// A question of the agent that came no later than this after a task began may have been under way before it.
pub const LATE_QUESTION: Duration = Duration::from_secs(5);

/// One run of a workflow on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Install {
    pub id: InstallId,
    pub host: HostId,
    /// Copied when armed: a later edit of profile, image or host changes nothing here.
    pub plan: Plan,
    pub state: InstallState,
    pub created: Timestamp,
    pub created_wall: WallTime,
    pub by: CleanText,
}
