//! Tasks on behalf of addresses, so many for each.

use std::{collections::HashMap, net::Ipv4Addr};
use tokio::task::JoinSet;

/// Tasks that run, and how many of them each address has. They end with it.
#[derive(Debug, Default)]
pub struct Crowd {
    tasks: JoinSet<Ipv4Addr>,
    of: HashMap<Ipv4Addr, usize>,
}

impl Crowd {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts a task unless this address has `most` already; whether it did.
    pub fn start(&mut self, by: Ipv4Addr, most: usize, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let count = self.of.entry(by).or_default();
        if *count >= most {
            return false;
        }
        *count += 1;
        self.tasks.spawn(async move {
            task.await;
            by
        });
        true
    }

    /// Waits for one to end; for ever if there is none.
    pub async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(by)) => {
                if let Some(count) = self.of.get_mut(&by) {
                    *count -= 1;
                    if *count == 0 {
                        self.of.remove(&by);
                    }
                }
            }
            // Nothing panics; were it otherwise, the counts would have to begin anew.
            Some(Err(_)) => self.of.clear(),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_so_many_tasks_and_room_again_when_one_ends() {
        let (one, other) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut crowd = Crowd::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        assert!(crowd.start(one, 2, async move { drop(ended.await) }));
        assert!(crowd.start(one, 2, std::future::pending()));
        assert!(!crowd.start(one, 2, std::future::pending()));
        assert!(crowd.start(other, 2, std::future::pending()));
        end.send(()).unwrap();
        crowd.ended().await;
        assert!(crowd.start(one, 2, std::future::pending()) && crowd.len() == 3);
    }
}
