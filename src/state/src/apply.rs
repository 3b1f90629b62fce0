//! The write side: committed entries in, answers and events out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use cairn_api::ApiError;
use cairn_api::etcdserverpb as pb;
use cairn_api::etcdserverpb::alarm_request::AlarmAction;
use cairn_storage::{Column, Engine};
use cairn_types::{ClusterId, Entry, EntryKind, LeaseId, LogIndex, MemberId, Revision, Term};
use prost::Message;

use crate::command::{Command, ExpireLeases, MemberAttributes, Origin, decode_entry};
use crate::error::{ReadError, StateError};
use crate::event::RevisionEvents;
use crate::lease::Lessor;
use crate::overlay::Overlay;
use crate::quota;
use crate::read::header;
use crate::schema::{
    META_APPLIED, META_CLUSTER, META_COMPACTED, META_COMPACTION_DONE, META_CONF_STATE, META_REVISION, META_SCHEMA,
    VERSION, alarm_key, lease_key, member_key,
};
use crate::store::{ReadView, Shown, Store, decode_applied, get_i64, load_alarms, load_leases, load_members};
use crate::txn;
use crate::write::Writer;

/// The answer to one command. Headers have the revision only; who answers adds the rest.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is named after the command that it answers")]
pub enum Response {
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseCheckpoint,
    ExpireLeases,
    Alarm(pb::AlarmResponse),
    MemberAttributes,
}

/// What a command's proposer is told.
pub type Outcome = Result<Response, ApiError>;

/// An entry that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedEntry {
    /// Its position.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Who waits for the outcomes; the default for an empty entry.
    pub origin: Origin,
    /// One for each command, in order.
    pub outcomes: Vec<Outcome>,
}

/// The replicated state machine. Belongs to one thread.
pub struct StateMachine {
    engine: Arc<dyn Engine>,
    store: Arc<Store>,
    revision: i64,
    compacted: i64,
    applied: LogIndex,
    applied_term: Term,
    cluster: Option<ClusterId>,
    conf_state: Option<Bytes>,
    members: BTreeMap<u64, pb::Member>,
    /// (type, member)
    alarms: BTreeSet<(i32, u64)>,
}

impl StateMachine {
    /// Opens the state in `engine`, which may be empty.
    ///
    /// # Errors
    /// Where the engine fails, the data is damaged, or a newer version wrote it.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, StateError> {
        let view = engine.view()?;
        let meta = |key: &'static [u8]| view.get(Column::Meta, key);
        if let Some(found) = meta(META_SCHEMA)? {
            check_schema(&found)?;
        }
        let revision = get_i64(view.as_ref(), META_REVISION)?.unwrap_or(Revision::EMPTY_STORE);
        let compacted = get_i64(view.as_ref(), META_COMPACTED)?.unwrap_or(-1);
        let compaction_done = get_i64(view.as_ref(), META_COMPACTION_DONE)?.unwrap_or(-1);
        let (applied, applied_term) =
            meta(META_APPLIED)?.map(|value| decode_applied(&value)).transpose()?.unwrap_or_default();
        let cluster = get_i64(view.as_ref(), META_CLUSTER)?.map(|id| ClusterId(id.cast_unsigned()));
        let conf_state = meta(META_CONF_STATE)?;
        let members = load_members(view.as_ref())?.into_iter().map(|member| (member.id, member)).collect();
        let alarms = load_alarms(view.as_ref())?.into_iter().map(|alarm| (alarm.alarm, alarm.member_id)).collect();
        let lessor = Lessor::default();
        load_leases(view.as_ref(), &lessor)?;
        let read_view = ReadView::new(Shown { revision, compacted, applied, applied_term }, view);
        let store = Arc::new(Store::new(engine.clone(), read_view, lessor, compaction_done));
        Ok(Self { engine, store, revision, compacted, applied, applied_term, cluster, conf_state, members, alarms })
    }

    /// The read side.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    /// The last entry that was applied, and its term; zeros before the first.
    #[must_use]
    pub fn applied(&self) -> (LogIndex, Term) {
        (self.applied, self.applied_term)
    }

    /// The cluster, once [`bootstrap`](Self::bootstrap) was called.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// Raft's membership in the bytes of `cairn-consensus`, once [`bootstrap`](Self::bootstrap) was called.
    #[must_use]
    pub fn conf_state(&self) -> Option<Bytes> {
        self.conf_state.clone()
    }

    /// Makes an empty store the state of a new cluster. Durable on return.
    ///
    /// # Errors
    /// Where the engine fails.
    ///
    /// # Panics
    /// Where the store already belongs to a cluster.
    pub fn bootstrap(
        &mut self,
        cluster: ClusterId,
        members: Vec<pb::Member>,
        conf_state: Bytes,
    ) -> Result<(), StateError> {
        assert!(self.cluster.is_none(), "a store is bootstrapped once");
        let mut overlay = Overlay::new(self.engine.view()?);
        overlay.put(Column::Meta, META_SCHEMA, VERSION.to_be_bytes().to_vec());
        overlay.put(Column::Meta, META_CLUSTER, cluster.0.to_be_bytes().to_vec());
        self.cluster = Some(cluster);
        self.set_membership(&mut overlay, members, conf_state);
        self.commit(overlay, Vec::new())?;
        Ok(self.engine.flush()?)
    }

    /// Makes a store that came out of a snapshot the state of a new cluster, with the same data and other members.
    /// `bump` is added to the revision; with `mark_compacted` all history before is then out of reach, so that clients
    /// which saw more than the snapshot holds notice it. Durable on return.
    ///
    /// # Errors
    /// Where the engine fails.
    pub fn restore(
        &mut self,
        cluster: ClusterId,
        members: Vec<pb::Member>,
        conf_state: Bytes,
        bump: i64,
        mark_compacted: bool,
    ) -> Result<(), StateError> {
        let mut overlay = Overlay::new(self.engine.view()?);
        overlay.put(Column::Meta, META_CLUSTER, cluster.0.to_be_bytes().to_vec());
        self.cluster = Some(cluster);
        self.revision += bump;
        if mark_compacted {
            self.compacted = self.revision;
            overlay.put(Column::Meta, META_COMPACTED, self.compacted.to_be_bytes().to_vec());
        }
        self.set_membership(&mut overlay, members, conf_state);
        self.commit(overlay, Vec::new())?;
        Ok(self.engine.flush()?)
    }

    /// Applies committed entries of kind `Normal` in order, as one batch that also holds the applied index, and then
    /// shows the new state to readers and watchers, in that order. Answers one [`AppliedEntry`] for each.
    ///
    /// # Errors
    /// Every error is fatal: nothing of the batch may be assumed applied, and the node must stop.
    ///
    /// # Panics
    /// Where an entry is a change of membership, see [`apply_conf_change`](Self::apply_conf_change).
    pub fn apply(&mut self, entries: &[Entry]) -> Result<Vec<AppliedEntry>, StateError> {
        let mut overlay = Overlay::new(self.engine.view()?);
        let mut events = Vec::new();
        let mut applied = Vec::with_capacity(entries.len());
        for entry in entries {
            assert_eq!(entry.kind, EntryKind::Normal, "entry {} is a change of membership", entry.index);
            self.advance(entry)?;
            let decoded =
                decode_entry(entry.data.clone()).map_err(|source| StateError::Entry { index: entry.index, source })?;
            let (origin, commands) = decoded.unwrap_or_default();
            let mut outcomes = Vec::with_capacity(commands.len());
            for command in &commands {
                outcomes.push(match self.execute(&mut overlay, &mut events, command) {
                    Ok(response) => Ok(response),
                    Err(ReadError::Api(error)) => Err(error),
                    Err(ReadError::State(error)) => return Err(error),
                });
            }
            applied.push(AppliedEntry { index: entry.index, term: entry.term, origin, outcomes });
        }
        self.commit(overlay, events)?;
        Ok(applied)
    }

    /// Applies a change of membership, whose outcome consensus has computed.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_conf_change(
        &mut self,
        entry: &Entry,
        conf_state: Bytes,
        members: Vec<pb::Member>,
    ) -> Result<(), StateError> {
        let mut overlay = Overlay::new(self.engine.view()?);
        self.advance(entry)?;
        self.set_membership(&mut overlay, members, conf_state);
        self.commit(overlay, Vec::new())
    }

    fn advance(&mut self, entry: &Entry) -> Result<(), StateError> {
        let expected = self.applied.next();
        if entry.index != expected {
            return Err(StateError::OutOfOrder { expected, found: entry.index });
        }
        self.applied = entry.index;
        self.applied_term = entry.term;
        Ok(())
    }

    fn set_membership(&mut self, overlay: &mut Overlay, members: Vec<pb::Member>, conf_state: Bytes) {
        for gone in self.members.keys() {
            overlay.delete(Column::Meta, member_key(*gone));
        }
        self.members = members.into_iter().map(|member| (member.id, member)).collect();
        for member in self.members.values() {
            overlay.put(Column::Meta, member_key(member.id), member.encode_to_vec());
        }
        overlay.put(Column::Meta, META_CONF_STATE, conf_state.clone());
        self.conf_state = Some(conf_state);
    }

    /// Writes the batch together with how far it brings the store, and shows the result.
    fn commit(&mut self, mut overlay: Overlay, events: Vec<Arc<RevisionEvents>>) -> Result<(), StateError> {
        let mut applied = BytesMut::with_capacity(16);
        applied.put_u64(self.applied.0);
        applied.put_u64(self.applied_term.0);
        overlay.put(Column::Meta, META_APPLIED, applied.freeze());
        overlay.put(Column::Meta, META_REVISION, self.revision.to_be_bytes().to_vec());
        let shown = Shown {
            revision: self.revision,
            compacted: self.compacted,
            applied: self.applied,
            applied_term: self.applied_term,
        };
        self.store.commit(&overlay.into_batch(), shown)?;
        self.store.ring().publish(events, self.revision);
        Ok(())
    }

    fn execute(
        &mut self,
        overlay: &mut Overlay,
        events: &mut Vec<Arc<RevisionEvents>>,
        command: &Command,
    ) -> Result<Response, ReadError> {
        self.check_alarms(command)?;
        let store = self.store.clone();
        let lessor = store.lessor();
        match command {
            Command::Put(request) => {
                self.change(overlay, events, |writer| txn::put(writer, lessor, request)).map(Response::Put)
            }
            Command::DeleteRange(request) => {
                self.change(overlay, events, |writer| txn::delete_range(writer, request)).map(Response::DeleteRange)
            }
            Command::Txn(request) => {
                self.change(overlay, events, |writer| txn::txn(writer, lessor, request)).map(Response::Txn)
            }
            Command::Compact(request) => self.compact(overlay, request),
            Command::LeaseGrant(request) => self.grant(overlay, request),
            Command::LeaseRevoke(request) => {
                if !self.revoke(overlay, events, LeaseId(request.id))? {
                    return Err(ApiError::LeaseNotFound.into());
                }
                Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: Some(header(self.revision)) }))
            }
            Command::ExpireLeases(ExpireLeases { ids }) => {
                for id in ids {
                    self.revoke(overlay, events, LeaseId(*id))?;
                }
                Ok(Response::ExpireLeases)
            }
            Command::LeaseCheckpoint(request) => {
                for checkpoint in &request.checkpoints {
                    let id = LeaseId(checkpoint.id);
                    if let Some(record) = lessor.checkpoint(id, checkpoint.remaining_ttl) {
                        overlay.put(Column::Meta, lease_key(id), record.encode());
                    }
                }
                Ok(Response::LeaseCheckpoint)
            }
            Command::Alarm(request) => Ok(Response::Alarm(self.alarm(overlay, request))),
            Command::MemberAttributes(attributes) => {
                self.set_attributes(overlay, attributes);
                Ok(Response::MemberAttributes)
            }
        }
    }

    /// Runs one request that may change keys; it uses up a revision only if it does.
    fn change<T>(
        &mut self,
        overlay: &mut Overlay,
        events: &mut Vec<Arc<RevisionEvents>>,
        run: impl FnOnce(&mut Writer<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut writer = Writer::new(overlay, self.revision, self.compacted);
        let result = run(&mut writer);
        if let Some(changed) = writer.finish() {
            // Whatever can fail is checked before the first change, so that nothing has to be undone.
            assert!(!matches!(result, Err(ReadError::Api(_))), "a request that was refused has changed the store");
            self.revision = changed.revision;
            events.push(Arc::new(changed));
        }
        result
    }

    fn check_alarms(&self, command: &Command) -> Result<(), ApiError> {
        let raised =
            |alarm: pb::AlarmType| self.alarms.range((alarm as i32, 0)..=(alarm as i32, u64::MAX)).next().is_some();
        let replicated_data =
            !matches!(command, Command::Alarm(_) | Command::MemberAttributes(_) | Command::LeaseCheckpoint(_));
        if replicated_data && raised(pb::AlarmType::Corrupt) {
            return Err(ApiError::Corrupt);
        }
        if quota::needs_space(command) && raised(pb::AlarmType::Nospace) {
            return Err(ApiError::NoSpace);
        }
        Ok(())
    }

    fn compact(&mut self, overlay: &mut Overlay, request: &pb::CompactionRequest) -> Result<Response, ReadError> {
        if request.revision <= self.compacted {
            return Err(ApiError::Compacted.into());
        }
        if request.revision > self.revision {
            return Err(ApiError::FutureRev.into());
        }
        self.compacted = request.revision;
        overlay.put(Column::Meta, META_COMPACTED, self.compacted.to_be_bytes().to_vec());
        Ok(Response::Compact(pb::CompactionResponse { header: Some(header(self.revision)) }))
    }

    fn grant(&mut self, overlay: &mut Overlay, request: &pb::LeaseGrantRequest) -> Result<Response, ReadError> {
        let id = LeaseId(request.id);
        let record = self.store.lessor().grant(id, request.ttl)?;
        overlay.put(Column::Meta, lease_key(id), record.encode());
        let response = pb::LeaseGrantResponse {
            header: Some(header(self.revision)),
            id: request.id,
            ttl: record.ttl,
            error: String::new(),
        };
        Ok(Response::LeaseGrant(response))
    }

    /// Ends a lease and deletes its keys, all in one revision; false if there is no such lease.
    fn revoke(
        &mut self,
        overlay: &mut Overlay,
        events: &mut Vec<Arc<RevisionEvents>>,
        id: LeaseId,
    ) -> Result<bool, ReadError> {
        if !self.store.lessor().revoke(id) {
            return Ok(false);
        }
        self.change(overlay, events, |writer| Ok(writer.delete_attached(id)?))?;
        overlay.delete(Column::Meta, lease_key(id));
        Ok(true)
    }

    fn alarm(&mut self, overlay: &mut Overlay, request: &pb::AlarmRequest) -> pb::AlarmResponse {
        let entry = (request.alarm, request.member_id);
        let member = pb::AlarmMember { member_id: request.member_id, alarm: request.alarm };
        let key = u8::try_from(request.alarm).ok().map(|alarm| alarm_key(alarm, request.member_id));
        let alarms = match (AlarmAction::try_from(request.action), key) {
            (Ok(AlarmAction::Get), _) => self
                .alarms
                .iter()
                .filter(|(alarm, _)| request.alarm == pb::AlarmType::None as i32 || *alarm == request.alarm)
                .map(|(alarm, member)| pb::AlarmMember { member_id: *member, alarm: *alarm })
                .collect(),
            (Ok(AlarmAction::Activate), Some(key)) if request.alarm != pb::AlarmType::None as i32 => {
                self.alarms.insert(entry);
                overlay.put(Column::Meta, key, Bytes::new());
                vec![member]
            }
            (Ok(AlarmAction::Deactivate), Some(key)) if self.alarms.remove(&entry) => {
                overlay.delete(Column::Meta, key);
                vec![member]
            }
            _ => Vec::new(),
        };
        pb::AlarmResponse { header: Some(header(self.revision)), alarms }
    }

    fn set_attributes(&mut self, overlay: &mut Overlay, attributes: &MemberAttributes) {
        let id = MemberId(attributes.member);
        if let Some(member) = self.members.get_mut(&id.0) {
            member.name.clone_from(&attributes.name);
            member.client_ur_ls.clone_from(&attributes.client_urls);
            overlay.put(Column::Meta, member_key(id.0), member.encode_to_vec());
        }
    }
}

fn check_schema(found: &Bytes) -> Result<(), StateError> {
    let bytes = <[u8; 4]>::try_from(found.as_ref())
        .map_err(|_| StateError::damaged("the schema version", format!("{} bytes, not 4", found.len())))?;
    match u32::from_be_bytes(bytes) {
        VERSION => Ok(()),
        found => Err(StateError::SchemaVersion { found, supported: VERSION }),
    }
}
