//! Sets of members, and changes from one to the next.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_types::{Entry, EntryKind, MemberId};
use prost::Message as _;
use raft::eraftpb;

use crate::error::{ConfChangeError, ConfStateError};
use crate::wire;

/// Who votes and who learns. While `voters_outgoing` is not empty the configuration is *joint*: a majority of both sets
/// of voters must agree (Raft thesis, 4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// The voters, and in a joint configuration the future ones.
    pub voters: BTreeSet<MemberId>,
    /// Members that get the log and do not vote.
    pub learners: BTreeSet<MemberId>,
    /// The voters from before a joint change.
    pub voters_outgoing: BTreeSet<MemberId>,
    /// Outgoing voters that become learners when the joint configuration is left.
    pub learners_next: BTreeSet<MemberId>,
    /// Whether the leader leaves the joint configuration by itself.
    pub auto_leave: bool,
}

impl ConfState {
    /// The members of a new cluster, before its first log entry; the same on each of them.
    #[must_use]
    pub fn bootstrap(voters: impl IntoIterator<Item = MemberId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// The form in which it is stored: the same bytes for the same members on every member.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// Where the bytes are damaged or the set contradicts itself. A set without voters is one only for a member that
    /// waits to be added, which stores none.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfStateError> {
        let wire = wire::ConfState::decode(bytes).map_err(|error| ConfStateError::Decode(error.to_string()))?;
        let conf = Self::from_wire(wire);
        conf.validate()?;
        Ok(conf)
    }

    /// Whether both sets of voters must agree.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether `member` votes, in either set.
    #[must_use]
    pub fn is_voter(&self, member: MemberId) -> bool {
        self.voters.contains(&member) || self.voters_outgoing.contains(&member)
    }

    /// Whether `member` gets the log, in whatever role.
    #[must_use]
    pub fn is_member(&self, member: MemberId) -> bool {
        self.is_voter(member) || self.learners.contains(&member)
    }

    /// Whether `member` is the one and only voter.
    #[must_use]
    pub fn is_only_voter(&self, member: MemberId) -> bool {
        !self.is_joint() && self.voters.len() == 1 && self.voters.contains(&member)
    }

    pub(crate) fn validate(&self) -> Result<(), ConfStateError> {
        if self.voters.is_empty() {
            return Err(ConfStateError::NoVoter);
        }
        let all = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        if all.iter().any(|set| set.contains(&MemberId(0))) {
            return Err(ConfStateError::ZeroMember);
        }
        disjoint(&self.learners, "learner", &self.voters, "voter")?;
        disjoint(&self.learners, "learner", &self.voters_outgoing, "outgoing voter")?;
        disjoint(&self.learners_next, "future learner", &self.voters, "voter")?;
        if !self.is_joint() && !self.learners_next.is_empty() {
            return Err(ConfStateError::NotJoint("future learners"));
        }
        if !self.is_joint() && self.auto_leave {
            return Err(ConfStateError::NotJoint("a joint configuration to leave"));
        }
        match self.learners_next.difference(&self.voters_outgoing).next() {
            Some(stray) => Err(ConfStateError::StrayLearner(*stray)),
            None => Ok(()),
        }
    }

    pub(crate) fn to_wire(&self) -> wire::ConfState {
        wire::ConfState {
            voters: numbers(&self.voters),
            learners: numbers(&self.learners),
            voters_outgoing: numbers(&self.voters_outgoing),
            learners_next: numbers(&self.learners_next),
            auto_leave: self.auto_leave,
        }
    }

    pub(crate) fn from_wire(wire: wire::ConfState) -> Self {
        Self {
            voters: members(wire.voters),
            learners: members(wire.learners),
            voters_outgoing: members(wire.voters_outgoing),
            learners_next: members(wire.learners_next),
            auto_leave: wire.auto_leave,
        }
    }

    pub(crate) fn to_library(&self) -> eraftpb::ConfState {
        eraftpb::ConfState {
            voters: numbers(&self.voters),
            learners: numbers(&self.learners),
            voters_outgoing: numbers(&self.voters_outgoing),
            learners_next: numbers(&self.learners_next),
            auto_leave: self.auto_leave,
            ..eraftpb::ConfState::default()
        }
    }

    pub(crate) fn from_library(conf: &eraftpb::ConfState) -> Self {
        Self {
            voters: members(conf.voters.iter().copied()),
            learners: members(conf.learners.iter().copied()),
            voters_outgoing: members(conf.voters_outgoing.iter().copied()),
            learners_next: members(conf.learners_next.iter().copied()),
            auto_leave: conf.auto_leave,
        }
    }
}

fn numbers(members: &BTreeSet<MemberId>) -> Vec<u64> {
    members.iter().map(|member| member.0).collect()
}

fn members(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<MemberId> {
    numbers.into_iter().map(MemberId).collect()
}

fn disjoint(
    left: &BTreeSet<MemberId>,
    one: &'static str,
    right: &BTreeSet<MemberId>,
    other: &'static str,
) -> Result<(), ConfStateError> {
    match left.intersection(right).next() {
        Some(member) => Err(ConfStateError::Overlap { member: *member, one, other }),
        None => Ok(()),
    }
}

/// One step of a change of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a voter, or makes a learner one.
    AddVoter(MemberId),
    /// Adds a learner, or makes a voter one.
    AddLearner(MemberId),
    /// Removes a member.
    Remove(MemberId),
}

impl MemberChange {
    pub(crate) fn member(self) -> MemberId {
        match self {
            Self::AddVoter(member) | Self::AddLearner(member) | Self::Remove(member) => member,
        }
    }
}

/// How to get from one set of members to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transition {
    /// One step at once; several through a joint configuration that the leader leaves by itself.
    #[default]
    Auto,
    /// Through a joint configuration that the leader leaves by itself.
    JointImplicit,
    /// Through a joint configuration that lasts until [`ConfChange::leave_joint`] is proposed.
    JointExplicit,
}

/// A change of members; no steps at all: leave the joint configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfChange {
    /// How to get there.
    pub transition: Transition,
    /// The steps.
    pub changes: Vec<MemberChange>,
    /// What the state machine should know about it; opaque here.
    pub context: Bytes,
}

impl ConfChange {
    /// The change that leaves a joint configuration.
    #[must_use]
    pub fn leave_joint(context: Bytes) -> Self {
        Self { context, ..Self::default() }
    }

    /// The change that a committed entry carries.
    ///
    /// # Errors
    /// Where the entry is not a change of members, or its bytes are not one. Both are the same on every member.
    pub fn from_entry(entry: &Entry) -> Result<Self, ConfChangeError> {
        if entry.kind != EntryKind::ConfChangeV2 {
            return Err(ConfChangeError::NotAConfChange(entry.index));
        }
        let undecodable = |what: String| ConfChangeError::Decode(what);
        let wire = wire::ConfChangeV2::decode(entry.data.clone()).map_err(|error| undecodable(error.to_string()))?;
        let transition = match wire.transition {
            0 => Transition::Auto,
            1 => Transition::JointImplicit,
            2 => Transition::JointExplicit,
            other => return Err(undecodable(format!("transition {other} is unknown"))),
        };
        let mut changes = Vec::with_capacity(wire.changes.len());
        for single in wire.changes {
            let member = MemberId(single.node_id);
            changes.push(match (single.change_type, single.node_id) {
                (_, 0) => return Err(undecodable("it names member 0".to_owned())),
                (0, _) => MemberChange::AddVoter(member),
                (1, _) => MemberChange::Remove(member),
                (2, _) => MemberChange::AddLearner(member),
                (other, _) => return Err(undecodable(format!("step {other} is unknown"))),
            });
        }
        Ok(Self { transition, changes, context: wire.context })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let changes = self.changes.iter().map(|change| {
            let (change_type, member) = match change {
                MemberChange::AddVoter(member) => (0, member),
                MemberChange::Remove(member) => (1, member),
                MemberChange::AddLearner(member) => (2, member),
            };
            wire::ConfChangeSingle { change_type, node_id: member.0 }
        });
        let transition = match self.transition {
            Transition::Auto => 0,
            Transition::JointImplicit => 1,
            Transition::JointExplicit => 2,
        };
        let wire = wire::ConfChangeV2 { transition, changes: changes.collect(), context: self.context.clone() };
        wire.encode_to_vec().into()
    }

    /// The library's form, without the context, which it has no use for.
    pub(crate) fn to_library(&self) -> eraftpb::ConfChangeV2 {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|change| {
                let (change_type, member) = match change {
                    MemberChange::AddVoter(member) => (eraftpb::ConfChangeType::AddNode, member),
                    MemberChange::Remove(member) => (eraftpb::ConfChangeType::RemoveNode, member),
                    MemberChange::AddLearner(member) => (eraftpb::ConfChangeType::AddLearnerNode, member),
                };
                eraftpb::ConfChangeSingle { change_type, node_id: member.0, ..Default::default() }
            })
            .collect();
        let transition = match self.transition {
            Transition::Auto => eraftpb::ConfChangeTransition::Auto,
            Transition::JointImplicit => eraftpb::ConfChangeTransition::Implicit,
            Transition::JointExplicit => eraftpb::ConfChangeTransition::Explicit,
        };
        eraftpb::ConfChangeV2 { transition, changes: changes.into(), ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use cairn_types::{LogIndex, Term};

    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<MemberId> {
        ids.iter().copied().map(MemberId).collect()
    }

    #[test]
    fn a_stored_set_of_members_reads_back_as_it_was() {
        let conf = ConfState {
            voters: set(&[1, 2, u64::MAX]),
            learners: set(&[7]),
            voters_outgoing: set(&[1, 4]),
            learners_next: set(&[4]),
            auto_leave: true,
        };
        assert_eq!(ConfState::decode(&conf.encode()), Ok(conf));
    }

    #[test]
    fn a_set_that_contradicts_itself_is_refused() {
        let one = ConfState::bootstrap([MemberId(1)]);
        let cases = [
            (ConfState::default(), ConfStateError::NoVoter),
            (ConfState::bootstrap([MemberId(0)]), ConfStateError::ZeroMember),
            (
                ConfState { learners: set(&[1]), ..one.clone() },
                ConfStateError::Overlap { member: MemberId(1), one: "learner", other: "voter" },
            ),
            (ConfState { learners_next: set(&[2]), ..one.clone() }, ConfStateError::NotJoint("future learners")),
            (ConfState { auto_leave: true, ..one.clone() }, ConfStateError::NotJoint("a joint configuration to leave")),
            (
                ConfState { voters_outgoing: set(&[3]), learners_next: set(&[2]), ..one },
                ConfStateError::StrayLearner(MemberId(2)),
            ),
        ];
        for (conf, error) in cases {
            assert_eq!(ConfState::decode(&conf.encode()), Err(error));
        }
        assert!(matches!(ConfState::decode(&[0xff; 3]), Err(ConfStateError::Decode(_))));
    }

    #[test]
    fn a_change_of_members_reads_back_from_its_entry() {
        let change = ConfChange {
            transition: Transition::JointExplicit,
            changes: vec![
                MemberChange::AddVoter(MemberId(4)),
                MemberChange::AddLearner(MemberId(5)),
                MemberChange::Remove(MemberId(1)),
            ],
            context: Bytes::from_static(b"why"),
        };
        let entry = |kind, data| Entry { index: LogIndex(9), term: Term(1), kind, data };
        assert_eq!(ConfChange::from_entry(&entry(EntryKind::ConfChangeV2, change.encode())), Ok(change.clone()));
        assert_eq!(
            ConfChange::from_entry(&entry(EntryKind::Normal, change.encode())),
            Err(ConfChangeError::NotAConfChange(LogIndex(9)))
        );
        let damaged = entry(EntryKind::ConfChangeV2, Bytes::from_static(&[0x0a, 0xff]));
        assert!(matches!(ConfChange::from_entry(&damaged), Err(ConfChangeError::Decode(_))));
    }

    #[test]
    fn the_empty_entry_with_which_a_leader_leaves_a_joint_configuration_is_a_change() {
        let entry = Entry { index: LogIndex(9), term: Term(1), kind: EntryKind::ConfChangeV2, data: Bytes::new() };
        assert_eq!(ConfChange::from_entry(&entry), Ok(ConfChange::leave_joint(Bytes::new())));
    }
}
