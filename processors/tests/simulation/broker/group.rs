//! The consumer group: who owns which partition, and when members learn of it.

use std::collections::{BTreeMap, VecDeque};

use runtime::step::Place;
use runtime::task::Ownership;

use super::Broker;

/// A member; one that comes back is another.
pub(crate) type MemberId = u32;

/// Who owns a partition, as the broker sees it.
#[derive(Default)]
pub(crate) struct Owner {
    pub(crate) member: Option<MemberId>,
    /// Grows with each change, so that nothing of an earlier ownership counts in a later one.
    pub(crate) epoch: u64,
    /// Who is to have it next, and not before when.
    wanted_by: Option<MemberId>,
    free_at_ms: i64,
}

/// What a member knows.
pub(crate) struct Membership {
    /// What it has not been told yet.
    news: VecDeque<News>,
    /// What it was told that it owns, by the epoch of that.
    pub(crate) known: BTreeMap<Place, u64>,
    /// What it was told that it gives up with its next poll.
    going: Vec<Place>,
    /// For so many polls it does not notice that the group has gone on without it.
    pub(crate) deaf_polls: u32,
    /// The control offset that its view has reached.
    pub(crate) control_at: usize,
}

enum News {
    Assigned(Place, u64),
    Revoked(Place),
    Lost(Place),
}

impl Broker {
    /// A member joins; partitions are given to it as they become free, or are taken from others.
    pub(crate) fn join(&mut self) -> MemberId {
        let id = self.next_member;
        self.next_member += 1;
        let control_at = match self.faults_left {
            0 => self.control.len() - 1,
            _ => self.random.usize(0..self.control.len()),
        };
        self.members.insert(
            id,
            Membership {
                news: VecDeque::new(),
                known: BTreeMap::new(),
                going: vec![],
                deaf_polls: 0,
                control_at,
            },
        );
        id
    }

    /// A process is gone; its partitions are free once its session has ended.
    pub(crate) fn leave(&mut self, member: MemberId, session_ms: i64) {
        self.members.remove(&member);
        for partition in self.partitions.values_mut() {
            if partition.owner.member == Some(member) {
                partition.owner.release(self.now_ms + session_ms);
            }
        }
    }

    /// Gives a partition to another member, in an orderly way.
    pub(crate) fn move_to(&mut self, place: &Place, to: MemberId) {
        let owner = &mut self
            .partitions
            .get_mut(place)
            .expect("a place of the plan")
            .owner;
        let Some(from) = owner.member.filter(|from| *from != to) else {
            return;
        };
        if owner.wanted_by.is_some() {
            return;
        }
        owner.wanted_by = Some(to);
        let member = self.members.get_mut(&from).expect("owners are members");
        let is_asked = |news: &News| matches!(news, News::Assigned(of, _) if of == place);
        if member.known.contains_key(place) && !member.news.iter().any(is_asked) {
            member.news.push_back(News::Revoked(place.clone()));
        } else {
            // It never heard of it.
            member.news.retain(|news| !is_asked(news));
            owner.release(self.now_ms);
        }
    }

    /// The group goes on without a member: all that it had is free, whether it notices or not.
    pub(crate) fn lose(&mut self, member: MemberId, deaf_polls: u32) {
        for (place, partition) in &mut self.partitions {
            if partition.owner.member == Some(member) {
                partition.owner.release(self.now_ms);
                self.members.get_mut(&member).expect("a member").lose(place);
            }
        }
        self.members.get_mut(&member).expect("a member").deaf_polls = deaf_polls;
    }

    /// A member loses one partition, which it may be given again.
    pub(crate) fn lose_one(&mut self, member: MemberId, place: &Place) {
        let owner = &mut self
            .partitions
            .get_mut(place)
            .expect("a place of the plan")
            .owner;
        if owner.member == Some(member) {
            owner.release(self.now_ms);
            self.members.get_mut(&member).expect("a member").lose(place);
        }
    }

    /// Gives partitions that are free to members.
    pub(super) fn give_away(&mut self) {
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        if members.is_empty() {
            return;
        }
        for (place, partition) in &mut self.partitions {
            let owner = &mut partition.owner;
            if owner.member.is_some() || owner.free_at_ms > self.now_ms {
                continue;
            }
            let wanted = owner
                .wanted_by
                .take()
                .filter(|wanted| members.contains(wanted));
            let to = wanted.unwrap_or_else(|| members[self.random.usize(0..members.len())]);
            owner.member = Some(to);
            owner.epoch += 1;
            let news = News::Assigned(place.clone(), owner.epoch);
            self.members
                .get_mut(&to)
                .expect("it was listed")
                .news
                .push_back(news);
        }
    }

    /// What a member learns by a poll, and which of its partitions begin anew where.
    pub(crate) fn poll(&mut self, id: MemberId) -> Vec<Ownership> {
        let member = self.members.get_mut(&id).expect("a member polls");
        for place in std::mem::take(&mut member.going) {
            member.known.remove(&place);
            let owner = &mut self.partitions.get_mut(&place).expect("a place").owner;
            if owner.member == Some(id) {
                owner.release(self.now_ms);
            }
        }
        self.give_away();
        let member = self.members.get_mut(&id).expect("a member polls");
        if member.deaf_polls > 0 {
            member.deaf_polls -= 1;
            return vec![];
        }
        let mut told = vec![];
        for news in std::mem::take(&mut member.news) {
            match news {
                News::Assigned(place, epoch) => {
                    let partition = &self.partitions[&place];
                    if partition.owner.member != Some(id) || partition.owner.epoch != epoch {
                        continue;
                    }
                    // Positions that a transaction may still change are waited for.
                    if self.transactions.iter().any(|t| t.holds_position(&place)) {
                        member.news.push_back(News::Assigned(place, epoch));
                        continue;
                    }
                    member.known.insert(place.clone(), epoch);
                    told.push(Ownership::Assigned(place, partition.committed.clone()));
                }
                News::Revoked(place) => {
                    if member.known.contains_key(&place) {
                        member.going.push(place.clone());
                        told.push(Ownership::Revoked(place));
                    }
                }
                News::Lost(place) => {
                    // It may be given to it anew at once, and then not go with the next poll.
                    member.going.retain(|going| *going != place);
                    if member.known.remove(&place).is_some() {
                        told.push(Ownership::Lost(place));
                    }
                }
            }
        }
        told
    }

    /// What a member believes to own, and what it does own, for whoever looks for a fault.
    pub(crate) fn ownership(&self, id: MemberId) -> String {
        let of = |member: &Membership| {
            let own = self.partitions.iter().map(|(place, partition)| {
                let (known, owner) = (member.known.get(place), &partition.owner);
                let (member, epoch) = (owner.member, owner.epoch);
                format!("{place:?}: known {known:?}, owner {member:?} at {epoch}")
            });
            let own: Vec<String> = own.collect();
            let (deaf, news) = (member.deaf_polls, member.news.len());
            format!("{own:#?}, {news} news, deaf for {deaf}")
        };
        self.members.get(&id).map_or("gone".into(), of)
    }

    /// Who owns a partition and knows it.
    pub(crate) fn owner(&self, place: &Place) -> Option<MemberId> {
        self.partitions[place]
            .owner
            .member
            .filter(|member| self.is_owner(*member, place))
    }

    /// True when what a member believes of a partition is what the broker knows.
    pub(crate) fn is_owner(&self, id: MemberId, place: &Place) -> bool {
        let owner = &self.partitions[place].owner;
        let known = self
            .members
            .get(&id)
            .and_then(|member| member.known.get(place));
        owner.member == Some(id) && known == Some(&owner.epoch)
    }
}

impl Owner {
    fn release(&mut self, free_at_ms: i64) {
        self.member = None;
        self.epoch += 1;
        self.free_at_ms = free_at_ms;
    }
}

impl Membership {
    fn lose(&mut self, place: &Place) {
        self.news
            .retain(|news| !matches!(news, News::Assigned(of, _) if of == place));
        self.news.push_back(News::Lost(place.clone()));
        self.going.retain(|going| going != place);
    }
}
