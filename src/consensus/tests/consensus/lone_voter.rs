//! One member that is the only voter, driven by hand: Ready by Ready.

use bytes::Bytes;
use cairn_consensus::{
    ConfChange, ConfState, Config, Consensus, MemberChange, MessageKind, ProposeError, ReadIndexError, Ready,
    ReadySequence, Role,
};
use cairn_types::{Entry, LogIndex, MemberId, Term};

use crate::disk::Disk;

const SELF: MemberId = MemberId(1);

/// The member, with a log writer that does nothing until told.
struct Lone {
    consensus: Consensus,
    disk: Disk,
    waiting: Vec<Ready>,
    committed: Vec<Entry>,
}

impl Lone {
    fn start(disk: &Disk, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(SELF, 1, 1);
        change(&mut config);
        let consensus = Consensus::new(config, disk.start(), Box::new(disk.clone())).expect("the disk is consistent");
        Self { consensus, disk: disk.clone(), waiting: Vec::new(), committed: Vec::new() }
    }

    fn new() -> Self {
        Self::start(&Disk::with_members(ConfState::bootstrap([SELF])), |_| {})
    }

    /// A member that leads and has committed and applied the first entry of its term.
    fn leading() -> Self {
        let mut lone = Self::new();
        lone.consensus.campaign();
        lone.write_all();
        lone.consensus.applied(LogIndex(1));
        lone.committed.clear();
        lone
    }

    /// Takes the Readies that there are; what is to be written waits.
    fn turn(&mut self) {
        while let Some(mut ready) = self.consensus.ready() {
            self.committed.append(&mut ready.committed);
            self.waiting.push(ready);
        }
    }

    /// Writes all that waits, and what comes of it.
    fn write_all(&mut self) {
        self.turn();
        while !self.waiting.is_empty() {
            for ready in std::mem::take(&mut self.waiting) {
                self.put_on_disk(&ready);
                self.consensus.persisted(ready.sequence);
            }
            self.turn();
        }
    }

    fn put_on_disk(&self, ready: &Ready) {
        let mut contents = self.disk.contents();
        contents.append(&ready.append);
        contents.hard_state = ready.hard_state.unwrap_or(contents.hard_state);
    }

    fn propose(&mut self, data: &'static str) -> (Term, LogIndex) {
        self.consensus.propose(Bytes::from_static(data.as_bytes())).expect("it leads")
    }

    fn committed_data(&self) -> Vec<&[u8]> {
        self.committed.iter().map(|entry| entry.data.as_ref()).collect()
    }
}

#[test]
fn it_leads_at_once_when_told_to_campaign() {
    let mut lone = Lone::new();
    lone.consensus.campaign();
    let ready = lone.consensus.ready().expect("a new term is to be written");
    let change = ready.leader_change.expect("there is a leader now");
    assert_eq!((change.leader, change.role, change.term), (Some(SELF), Role::Leader, Term(1)));
    assert_eq!(ready.hard_state.map(|state| (state.term, state.vote)), Some((Term(1), SELF.0)));
    assert_eq!(ready.append.len(), 1, "the empty entry of its term");
    assert!(lone.consensus.status().single_voter);
}

#[test]
fn it_leads_after_the_election_timeout_without_being_told() {
    let mut lone = Lone::new();
    let ticks = (1..=20).find(|_| {
        lone.consensus.tick();
        lone.consensus.role() == Role::Leader
    });
    assert!((10..20).contains(&ticks.expect("at most twice the timeout")));
}

#[test]
fn nothing_is_committed_before_it_is_written() {
    let mut lone = Lone::leading();
    let (term, index) = lone.propose("a");
    assert_eq!((term, index), (Term(1), LogIndex(2)));
    lone.turn();
    assert!(lone.committed.is_empty());
    assert_eq!(lone.consensus.status().commit, LogIndex(1));
    lone.write_all();
    assert_eq!(lone.committed_data(), [b"a"]);
    assert_eq!(lone.consensus.status().commit, LogIndex(2));
}

#[test]
fn commands_are_committed_once_and_in_order_with_several_writes_under_way() {
    let mut lone = Lone::leading();
    for data in ["a", "b", "c"] {
        lone.propose(data);
        lone.turn();
    }
    assert_eq!(lone.waiting.len(), 3);
    let sequences: Vec<ReadySequence> = lone.waiting.iter().map(|ready| ready.sequence).collect();
    for ready in std::mem::take(&mut lone.waiting) {
        lone.put_on_disk(&ready);
    }
    lone.consensus.persisted(sequences[0]);
    lone.turn();
    assert_eq!(lone.committed_data(), [b"a"]);
    // One report stands for all before it.
    lone.consensus.persisted(sequences[2]);
    lone.write_all();
    assert_eq!(lone.committed_data(), [b"a", b"b", b"c"]);
}

#[test]
fn commands_that_are_proposed_during_one_write_share_the_next() {
    let mut lone = Lone::leading();
    lone.propose("a");
    lone.turn();
    for _ in 0..100 {
        lone.propose("b");
    }
    lone.turn();
    assert_eq!(lone.waiting.iter().map(|ready| ready.append.len()).collect::<Vec<_>>(), [1, 100]);
}

#[test]
fn the_data_of_a_command_is_never_copied() {
    let mut lone = Lone::leading();
    let data = Bytes::from(vec![7; 1000]);
    lone.consensus.propose(data.clone()).expect("it leads");
    lone.turn();
    assert_eq!(lone.waiting[0].append[0].data.as_ptr(), data.as_ptr());
    lone.write_all();
    assert_eq!(lone.committed[0].data.as_ptr(), data.as_ptr());
}

#[test]
fn a_commit_index_alone_is_written_with_what_comes_next() {
    let mut lone = Lone::leading();
    lone.propose("a");
    lone.turn();
    let ready = lone.waiting.remove(0);
    lone.put_on_disk(&ready);
    lone.consensus.persisted(ready.sequence);
    let ready = lone.consensus.ready().expect("the entry is committed");
    assert_eq!(ready.committed.last().map(|entry| entry.index), Some(LogIndex(2)));
    assert!(!ready.has_write(), "{:?}", ready.hard_state);
    lone.propose("b");
    let ready = lone.consensus.ready().expect("there is an entry to write");
    assert_eq!(ready.hard_state.map(|state| state.commit), Some(LogIndex(2)));
}

#[test]
fn after_a_restart_what_was_committed_and_not_applied_comes_again() {
    let mut lone = Lone::leading();
    for data in ["a", "b", "c", "d"] {
        lone.propose(data);
    }
    lone.write_all();
    // The store was durable up to "b"; "d" is in the log, but its commit was not written.
    let disk = lone.disk.clone();
    disk.contents().applied = (LogIndex(3), Term(1));
    disk.contents().hard_state.commit = LogIndex(4);
    let mut again = Lone::start(&disk, |_| {});
    again.turn();
    assert_eq!(again.committed_data(), [b"c"]);
    again.consensus.campaign();
    again.write_all();
    assert_eq!(again.committed_data(), [&b"c"[..], b"d", b""]);
    assert_eq!(again.consensus.term(), Term(2));
}

#[test]
fn after_a_restart_the_store_may_be_ahead_of_the_written_commit_index() {
    let mut lone = Lone::leading();
    lone.propose("a");
    lone.write_all();
    let disk = lone.disk.clone();
    disk.contents().applied = (LogIndex(2), Term(1));
    disk.contents().hard_state.commit = LogIndex(0);
    let mut again = Lone::start(&disk, |_| {});
    again.consensus.campaign();
    again.write_all();
    assert_eq!(again.committed_data(), [b""], "only the entry of the new term");
}

#[test]
fn reads_are_answered_without_messages_and_with_tokens_of_their_own() {
    let mut lone = Lone::leading();
    let first = lone.consensus.read_index().expect("there is a leader");
    let second = lone.consensus.read_index().expect("there is a leader");
    assert_ne!(first, second);
    let ready = lone.consensus.ready().expect("reads are answered");
    assert_eq!(ready.read_states, [(first, LogIndex(1)), (second, LogIndex(1))]);
    assert!(ready.messages.is_empty() && !ready.has_write());
}

#[test]
fn no_read_is_answered_before_an_entry_of_the_term_is_committed() {
    let mut lone = Lone::new();
    assert_eq!(lone.consensus.read_index(), Err(ReadIndexError::NoLeader));
    lone.consensus.campaign();
    let tokens = [(); 2].map(|()| lone.consensus.read_index().expect("it leads"));
    lone.turn();
    assert!(lone.waiting.iter().all(|ready| ready.read_states.is_empty()));
    for ready in std::mem::take(&mut lone.waiting) {
        lone.put_on_disk(&ready);
        lone.consensus.persisted(ready.sequence);
    }
    lone.turn();
    let answers: Vec<_> = lone.waiting.iter().flat_map(|ready| ready.read_states.clone()).collect();
    assert_eq!(answers, tokens.map(|token| (token, LogIndex(1))));
}

#[test]
fn tokens_are_not_reused_in_a_later_term_either() {
    let mut lone = Lone::leading();
    let before = lone.consensus.read_index().expect("it leads");
    let disk = lone.disk.clone();
    let mut again = Lone::start(&disk, |config| config.incarnation = 2);
    again.consensus.campaign();
    assert_ne!(again.consensus.read_index().expect("it leads"), before);
}

#[test]
fn too_many_uncommitted_bytes_refuse_a_proposal_until_they_are_committed() {
    let disk = Disk::with_members(ConfState::bootstrap([SELF]));
    let mut lone = Lone::start(&disk, |config| {
        config.max_uncommitted_bytes = 10;
        config.max_message_bytes = 10;
    });
    lone.consensus.campaign();
    lone.write_all();
    lone.propose("123456");
    assert_eq!(lone.consensus.propose(Bytes::from_static(b"1234567")), Err(ProposeError::TooManyUncommitted));
    lone.write_all();
    lone.propose("a single command may be larger than all");
}

#[test]
fn committed_entries_come_in_portions() {
    let disk = Disk::with_members(ConfState::bootstrap([SELF]));
    let mut lone = Lone::start(&disk, |config| config.max_committed_bytes_per_ready = 500);
    lone.consensus.campaign();
    lone.write_all();
    for _ in 0..50 {
        lone.consensus.propose(Bytes::from(vec![0; 100])).expect("it leads");
    }
    lone.turn();
    for ready in std::mem::take(&mut lone.waiting) {
        lone.put_on_disk(&ready);
        lone.consensus.persisted(ready.sequence);
    }
    let mut portions = Vec::new();
    while let Some(ready) = lone.consensus.ready() {
        portions.push(ready.committed.len());
    }
    assert_eq!(portions.iter().sum::<usize>(), 50);
    assert!(portions.iter().all(|portion| *portion <= 5), "{portions:?}");
}

#[test]
fn applied_entries_leave_memory_at_its_limit_and_others_do_not() {
    let disk = Disk::with_members(ConfState::bootstrap([SELF]));
    let mut lone = Lone::start(&disk, |config| config.max_cached_bytes = 10_000);
    lone.consensus.campaign();
    for _ in 0..50 {
        lone.consensus.propose(Bytes::from(vec![0; 1000])).expect("it leads");
    }
    lone.write_all();
    assert!(lone.consensus.status().cached_bytes > 50_000, "nothing is applied yet");
    lone.consensus.applied(LogIndex(30));
    let after_some = lone.consensus.status().cached_bytes;
    assert!((20_000..30_000).contains(&after_some), "what is not applied stays: {after_some}");
    lone.consensus.applied(LogIndex(51));
    assert!(lone.consensus.status().cached_bytes <= 10_000);
    lone.consensus.compact_cache(LogIndex(u64::MAX));
    assert_eq!(lone.consensus.status().cached_bytes, 0);
    lone.propose("and it goes on");
    lone.write_all();
    assert_eq!(lone.committed_data().last(), Some(&&b"and it goes on"[..]));
}

#[test]
fn it_tells_a_learner_nothing_of_a_term_that_its_disk_could_forget() {
    let disk = Disk::with_members(ConfState { learners: [MemberId(2)].into(), ..ConfState::bootstrap([SELF]) });
    let mut lone = Lone::start(&disk, |_| {});
    lone.consensus.campaign();
    let ready = lone.consensus.ready().expect("a new term is to be written");
    assert!(ready.messages.is_empty());
    assert_eq!(
        ready.messages_after_persist.iter().map(|message| message.kind()).collect::<Vec<_>>(),
        [MessageKind::Append]
    );
    lone.put_on_disk(&ready);
    lone.consensus.persisted(ready.sequence);
    while lone.consensus.ready().is_some() {}
    // Its term is durable now: heartbeats, and later entries, need not wait for the disk.
    lone.propose("a");
    lone.consensus.tick();
    let ready = lone.consensus.ready().expect("there is something to write and to send");
    assert!(ready.messages.iter().any(|message| message.kind() == MessageKind::Heartbeat));
    assert!(ready.messages_after_persist.is_empty());
}

#[test]
fn it_does_not_campaign_while_its_own_log_is_being_written() {
    let disk = Disk::with_members(ConfState::bootstrap([SELF]));
    let mut lone = Lone::start(&disk, |_| {});
    lone.consensus.campaign();
    lone.turn();
    // A leader of a later term, of a cluster that has long removed this member, makes it a follower meanwhile.
    lone.consensus.step(crate::refusals::heartbeat(MemberId(9), SELF, 5)).expect("it may not know all members");
    lone.consensus.campaign();
    for _ in 0..100 {
        lone.consensus.tick();
        lone.turn();
    }
    assert_eq!(lone.consensus.role(), Role::Follower);
    lone.write_all();
    lone.consensus.campaign();
    assert_eq!(lone.consensus.role(), Role::Leader);
}

#[test]
fn a_second_voter_takes_part_as_soon_as_it_is_added() {
    let mut lone = Lone::leading();
    let change = ConfChange { changes: vec![MemberChange::AddVoter(MemberId(2))], ..ConfChange::default() };
    lone.consensus.propose_conf_change(&change).expect("it leads");
    assert_eq!(lone.consensus.propose_conf_change(&change), Err(ProposeError::ConfChangePending));
    lone.write_all();
    let entry = lone.committed.pop().expect("it is committed by the lone voter");
    let conf_state = lone.consensus.apply_conf_change(&entry).expect("the change fits");
    assert_eq!(conf_state, ConfState::bootstrap([SELF, MemberId(2)]));
    assert_eq!(ConfState::decode(&conf_state.encode()), Ok(conf_state));
    lone.consensus.applied(entry.index);
    assert!(!lone.consensus.status().single_voter);
    lone.propose("a");
    lone.write_all();
    assert!(lone.committed.is_empty(), "the second voter has not acknowledged it");
}
