//! Answers of others, kept for as long as they may be. Pure: the time is passed in.

use super::wire::Asked;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{LowerName, RData, RecordType},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Answers at most.
const MOST: usize = 1024;
/// In bytes: a longer answer is not kept.
const LONGEST: usize = 4096;
/// In seconds: kept no longer, whatever its records say.
const OLDEST: u32 = 3600;

type Key = (LowerName, RecordType, bool, bool);

#[derive(Debug)]
struct Kept {
    answer: Message,
    since: Instant,
    until: Instant,
}

/// What was answered before.
#[derive(Debug, Default)]
pub struct Cache(HashMap<Key, Kept>);

impl Cache {
    /// The answer to this question, its records with the life that is left to them.
    pub fn get(&self, asked: &Asked, now: Instant) -> Option<Message> {
        let kept = self.0.get(&key(asked)).filter(|kept| now < kept.until)?;
        let age = u32::try_from(now.saturating_duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = kept.answer.clone();
        let records = answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals);
        for record in records {
            record.decrement_ttl(age);
        }
        Some(answer)
    }

    /// Keeps an answer that was `length` bytes long on its way, if it may be kept.
    pub fn put(&mut self, asked: &Asked, answer: &Message, length: usize, now: Instant) {
        let life = life(answer).min(OLDEST);
        if life == 0 || length > LONGEST {
            return;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, kept| now < kept.until);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let until = now + Duration::from_secs(life.into());
        self.0.insert(key(asked), Kept { answer: answer.clone(), since: now, until });
    }
}

fn key(asked: &Asked) -> Key {
    (LowerName::new(&asked.question.name), asked.question.query_type, asked.dnssec, asked.unchecked())
}

/// For how many seconds it holds: as its shortest record says; that there is nothing, as the zone says (RFC 2308 section 5).
fn life(answer: &Message) -> u32 {
    let shortest = answer.answers.iter().map(|record| record.ttl).min();
    let nothing = || {
        answer.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(zone) => Some(record.ttl.min(zone.minimum)),
            _ => None,
        })
    };
    match answer.metadata.response_code {
        _ if answer.metadata.truncation => 0,
        ResponseCode::NoError => shortest.or_else(nothing).unwrap_or(0),
        // An alias may lead to a name that is not there.
        ResponseCode::NXDomain => nothing().unwrap_or(0).min(shortest.unwrap_or(u32::MAX)),
        _ => 0,
    }
}
