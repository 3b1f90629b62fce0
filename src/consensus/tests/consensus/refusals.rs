//! What consensus refuses: settings, disks and messages that cannot be true.

use bytes::Bytes;
use cairn_consensus::{
    ConfChange, ConfChangeError, ConfState, Config, Consensus, ConsensusError, MemberChange, Message, MessageKind,
    ProposeError, StepError, Transition,
};
use cairn_types::{Entry, EntryKind, HardState, LogIndex, MemberId, Term};

use fastrand::Rng;

use crate::disk::Disk;
use crate::world::World;

/// Protocol buffers by hand: numbers under their field numbers, then the encoded entries.
pub(crate) fn message(fields: &[(u8, u64)], entries: &[(u64, u64)]) -> Message {
    let mut bytes = Vec::new();
    for (tag, value) in fields {
        number(&mut bytes, *tag, *value);
    }
    for (index, term) in entries {
        let mut entry = Vec::new();
        number(&mut entry, 2, *term);
        number(&mut entry, 3, *index);
        bytes.push(7 << 3 | 2);
        bytes.push(u8::try_from(entry.len()).expect("short"));
        bytes.extend(entry);
    }
    Message::decode(bytes.into()).expect("well formed")
}

fn number(bytes: &mut Vec<u8>, tag: u8, mut value: u64) {
    bytes.push(tag << 3);
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).expect("seven bits"));
}

const APPEND: u64 = 3;
const APPEND_RESPONSE: u64 = 4;
const VOTE: u64 = 5;
const HEARTBEAT: u64 = 8;
const HEARTBEAT_RESPONSE: u64 = 9;
const SNAPSHOT: u64 = 7;

/// The sign of life of a leader.
pub(crate) fn heartbeat(from: MemberId, to: MemberId, term: u64) -> Message {
    message(&[(1, HEARTBEAT), (2, to.0), (3, from.0), (4, term)], &[])
}

/// Member 1 of three, in term 4, with entries 1..=5 of term 3, of which 3 are committed.
fn follower() -> Consensus {
    let disk = Disk::with_members(ConfState::bootstrap([1, 2, 3].map(MemberId)));
    disk.contents().hard_state = HardState { term: Term(4), vote: 0, commit: LogIndex(3) };
    let entries: Vec<Entry> = (1..=5)
        .map(|index| Entry { index: LogIndex(index), term: Term(3), kind: EntryKind::Normal, data: Bytes::new() })
        .collect();
    disk.contents().append(&entries);
    Consensus::new(Config::new(MemberId(1), 1, 1), disk.start(), Box::new(disk)).expect("the disk is consistent")
}

/// What the follower says to a message of member 2 with these fields.
fn refusal(fields: &[(u8, u64)], entries: &[(u64, u64)]) -> StepError {
    let mut all = vec![(2, 1), (3, 2), (4, 4)];
    for field in fields {
        all.retain(|(tag, _)| *tag != field.0);
        all.push(*field);
    }
    let mut follower = follower();
    let before = follower.status();
    let error = follower.step(message(&all, entries)).expect_err("it cannot be true");
    assert_eq!(follower.status(), before, "a refused message changes nothing");
    error
}

fn is_malformed(error: &StepError) -> bool {
    matches!(error, StepError::Malformed { .. })
}

#[test]
fn a_message_for_another_member_is_refused() {
    let error = refusal(&[(1, HEARTBEAT), (2, 3)], &[]);
    assert_eq!(error, StepError::WrongRecipient { to: MemberId(3), own: MemberId(1) });
}

#[test]
fn a_message_from_nobody_or_from_oneself_is_refused() {
    assert_eq!(refusal(&[(1, HEARTBEAT), (3, 0)], &[]), StepError::WrongSender(MemberId(0)));
    assert_eq!(refusal(&[(1, HEARTBEAT), (3, 1)], &[]), StepError::WrongSender(MemberId(1)));
}

#[test]
fn an_answer_from_a_stranger_is_refused() {
    for kind in [APPEND_RESPONSE, HEARTBEAT_RESPONSE] {
        assert_eq!(refusal(&[(1, kind), (3, 9)], &[]), StepError::UnknownPeer { from: MemberId(9) });
    }
}

#[test]
fn a_message_without_a_term_is_refused() {
    assert!(is_malformed(&refusal(&[(1, HEARTBEAT), (4, 0)], &[])));
}

#[test]
fn a_commit_index_beyond_the_own_log_means_that_the_disk_has_lost_data() {
    assert_eq!(
        refusal(&[(1, HEARTBEAT), (8, 6)], &[]),
        StepError::CommitBeyondLog { from: MemberId(2), commit: LogIndex(6), last: LogIndex(5) }
    );
}

#[test]
fn entries_that_are_not_consecutive_or_out_of_term_are_refused() {
    let after_five = [(1, APPEND), (5, 3), (6, 5)];
    assert!(is_malformed(&refusal(&after_five, &[(7, 4)])));
    assert!(is_malformed(&refusal(&after_five, &[(6, 4), (8, 4)])));
    assert!(is_malformed(&refusal(&after_five, &[(6, 5)])), "an entry of a term after the message's");
    assert!(is_malformed(&refusal(&after_five, &[(6, 4), (7, 3)])), "a term that falls");
    assert!(is_malformed(&refusal(&[(1, APPEND), (6, 5)], &[])), "an entry without a term");
}

#[test]
fn a_log_that_contradicts_what_is_committed_is_refused() {
    let error = StepError::ConflictsWithCommitted { from: MemberId(2), index: LogIndex(3) };
    assert_eq!(refusal(&[(1, APPEND), (5, 2), (6, 3)], &[(4, 4)]), error);
    assert_eq!(refusal(&[(1, APPEND), (5, 2), (6, 9)], &[]), error);
}

#[test]
fn numbers_that_no_log_reaches_are_refused() {
    assert!(is_malformed(&refusal(&[(1, APPEND_RESPONSE), (11, u64::MAX), (10, 1)], &[])));
    assert!(is_malformed(&refusal(&[(1, VOTE), (4, u64::MAX)], &[])));
}

#[test]
fn a_snapshot_of_nothing_is_refused() {
    assert!(is_malformed(&refusal(&[(1, SNAPSHOT)], &[])));
}

#[test]
fn a_leader_refuses_an_acknowledgement_of_entries_that_it_never_sent() {
    let mut leader = follower();
    leader.campaign();
    while let Some(ready) = leader.ready() {
        leader.persisted(ready.sequence);
    }
    let next_term = leader.term().0 + 1;
    // Granted pre-vote and vote of member 2.
    for kind in [18, 6] {
        leader.step(message(&[(1, kind), (2, 1), (3, 2), (4, next_term)], &[])).expect("a vote");
        while let Some(ready) = leader.ready() {
            leader.persisted(ready.sequence);
        }
    }
    assert_eq!(leader.role(), cairn_consensus::Role::Leader);
    let term = leader.term().0;
    let response = message(&[(1, APPEND_RESPONSE), (2, 1), (3, 2), (4, term), (6, 100)], &[]);
    assert!(is_malformed(&leader.step(response).expect_err("entry 100 does not exist")));
}

#[test]
fn proposals_to_a_member_that_does_not_lead_name_the_leader() {
    let mut follower = follower();
    assert_eq!(follower.propose(Bytes::new()), Err(ProposeError::NotLeader { leader: None }));
    follower.step(heartbeat(MemberId(2), MemberId(1), 4)).expect("the leader lives");
    assert_eq!(follower.propose(Bytes::new()), Err(ProposeError::NotLeader { leader: Some(MemberId(2)) }));
}

#[test]
fn settings_out_of_range_are_refused() {
    type Change = fn(&mut Config);
    let cases: [(&str, Change); 5] = [
        ("id", |config| config.id = MemberId(0)),
        ("heartbeat_ticks", |config| config.heartbeat_ticks = 0),
        ("election_ticks", |config| config.election_ticks = 1),
        ("max_inflight_messages", |config| config.max_inflight_messages = 0),
        ("max_uncommitted_bytes", |config| config.max_uncommitted_bytes = 1),
    ];
    for (name, change) in cases {
        let disk = Disk::with_members(ConfState::bootstrap([MemberId(1)]));
        let mut config = Config::new(MemberId(1), 1, 1);
        change(&mut config);
        match Consensus::new(config, disk.start(), Box::new(disk)) {
            Err(ConsensusError::Config { setting, .. }) => assert_eq!(setting, name),
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("{name} is accepted"),
        }
    }
}

#[test]
fn changes_of_members_that_cannot_follow_are_refused_before_they_are_proposed() {
    let disk = Disk::with_members(ConfState::bootstrap([MemberId(1)]));
    let mut lone =
        Consensus::new(Config::new(MemberId(1), 1, 1), disk.start(), Box::new(disk)).expect("the disk is consistent");
    lone.campaign();
    while let Some(ready) = lone.ready() {
        lone.persisted(ready.sequence);
    }
    lone.applied(LogIndex(1));
    let impossible = [
        ConfChange { changes: vec![MemberChange::Remove(MemberId(1))], ..ConfChange::default() },
        ConfChange { changes: vec![MemberChange::AddVoter(MemberId(0))], ..ConfChange::default() },
        ConfChange::leave_joint(Bytes::new()),
        ConfChange {
            transition: Transition::JointExplicit,
            changes: vec![MemberChange::AddLearner(MemberId(1))],
            ..ConfChange::default()
        },
    ];
    for change in impossible {
        let refused = lone.propose_conf_change(&change);
        assert!(
            matches!(refused, Err(ProposeError::ConfChange(ConfChangeError::Refused(_)))),
            "{change:?}: {refused:?}"
        );
    }
    let entry =
        Entry { index: LogIndex(2), term: Term(1), kind: EntryKind::ConfChangeV2, data: Bytes::from_static(b"?") };
    assert!(matches!(lone.apply_conf_change(&entry), Err(ConfChangeError::Decode(_))));
}

#[test]
fn a_kind_that_members_do_not_exchange_is_not_even_decoded() {
    let decoded = Message::decode(Bytes::from_static(&[8, 13]));
    assert!(decoded.is_err(), "a transfer of leadership is asked of the leader, not of a peer");
    assert_eq!(heartbeat(MemberId(2), MemberId(1), 3).kind(), MessageKind::Heartbeat);
}

/// Messages as a running cluster exchanges them.
fn genuine_messages(rng: &mut Rng) -> Vec<Bytes> {
    let mut world = World::new(3);
    let mut seen = Vec::new();
    for step in 0..300 {
        let id = rng.u64(1..=3);
        match rng.u32(..6) {
            0 => world.tick(id),
            1 => world.campaign(id),
            2 => drop(world.flush_one(id)),
            3 => drop(world.propose(id, &format!("command {step}"))),
            4 => world.read(id),
            _ if world.network.is_empty() => {}
            _ => world.deliver(rng.usize(..world.network.len()), false),
        }
        seen.extend(world.network.iter().filter(|(_, to, _)| *to == 1).map(|(_, _, bytes)| bytes.clone()));
    }
    seen
}

/// Whatever a peer sends, true or not, is taken or refused.
#[test]
fn messages_that_were_damaged_on_the_way_never_stop_a_member() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let messages = genuine_messages(&mut rng);
        let mut member = follower();
        for _ in 0..300 {
            let mut bytes = rng.choice(&messages).expect("a cluster talks").to_vec();
            for _ in 0..rng.u32(..3) {
                let position = rng.usize(..bytes.len());
                bytes[position] = if rng.bool() { bytes[position] ^ (1 << rng.u32(..8)) } else { rng.u8(..8) };
            }
            if let Ok(message) = Message::decode(bytes.into()) {
                // Both outcomes are fine.
                let _ = member.step(message);
            }
            if rng.u32(..10) == 0 {
                member.tick();
            }
            while let Some(ready) = member.ready() {
                member.persisted(ready.sequence);
            }
        }
    }
}
