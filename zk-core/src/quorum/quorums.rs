//! The committed configuration, and the proposed one.

use super::config::{Config, ConfigError, Port};
use super::server::ADDRESSES_MAX;
use crate::id::ServerId;

/// The configuration that is in force and, while a reconfiguration is under way, the one that it
/// proposes. What needs a quorum then needs one of each.
///
/// Answers to `QuorumPeer`'s `quorumVerifier` and `lastSeenQuorumVerifier`, and to
/// `SyncedLearnerTracker`.
#[derive(Debug, Default)]
pub struct Quorums<'m> {
    /// In force.
    pub committed: Config<'m>,
    /// Proposed last. It counts only while its version is above that of the committed one.
    pub proposed: Config<'m>,
}

impl<'m> Quorums<'m> {
    /// Two configurations; the proposed one may be empty.
    pub fn new(committed: Config<'m>, proposed: Config<'m>) -> Self {
        Self { committed, proposed }
    }

    /// Two empty configurations on the heap.
    #[cfg(feature = "alloc")]
    pub fn owned() -> Self {
        Self::new(Config::owned(), Config::owned())
    }

    /// The proposed configuration, if it waits to be committed.
    pub fn pending(&self) -> Option<&Config<'m>> {
        let newer = self.proposed.version() > self.committed.version();
        Some(&self.proposed).filter(|proposed| newer && proposed.members().next().is_some())
    }

    /// Those that count: the committed one, and the proposed one if it waits.
    pub fn all(&self) -> impl Iterator<Item = &Config<'m>> + Clone {
        [Some(&self.committed), self.pending()].into_iter().flatten()
    }

    /// Takes the configuration that `text` describes for the proposed one; `version` is its version,
    /// if not the one that the text says.
    ///
    /// # Errors
    /// As [`Config::set`]; nothing was changed.
    pub fn propose(&mut self, text: &[u8], version: Option<i64>) -> Result<(), ConfigError> {
        self.proposed.set(text)?;
        if let Some(version) = version {
            self.proposed.set_version(version);
        }
        Ok(())
    }

    /// Proposes the committed configuration with a version: the first one that an ensemble has.
    pub fn establish(&mut self, version: i64) {
        let Self { committed, proposed } = self;
        // It is the committed one, and fits where that fits.
        if proposed.set(committed.text()).is_ok() {
            proposed.set_version(version);
        }
    }

    /// What was proposed will not be committed.
    pub fn withdraw(&mut self) {
        self.proposed.clear();
    }

    /// Puts the proposed configuration in force.
    ///
    /// Does nothing if none waits.
    pub fn commit(&mut self) {
        if self.pending().is_some() {
            core::mem::swap(&mut self.committed, &mut self.proposed);
        }
    }

    /// Puts the configuration that `text` describes in force; none is proposed any more, unless
    /// it is newer still.
    ///
    /// # Errors
    /// As [`Config::set`]; nothing was changed.
    pub fn set(&mut self, text: &[u8]) -> Result<(), ConfigError> {
        self.committed.set(text)
    }

    /// Whether `id` cannot lead any more once `new` takes the place of `old`: it does not vote there,
    /// or is met elsewhere.
    pub fn unseats(new: &Config<'_>, old: &Config<'_>, id: ServerId) -> bool {
        !new.is_participant(id) || new.met_at(id) != old.met_at(id)
    }

    /// Whether those for whom `acked` holds are a quorum of every configuration that counts. In
    /// each, only its own voters do.
    pub fn has_quorum(&self, acked: impl Fn(ServerId) -> bool) -> bool {
        self.is_quorum(&acked)
    }

    fn is_quorum(&self, acked: &dyn Fn(ServerId) -> bool) -> bool {
        if planted!(ReconfigOldQuorum) {
            return self.committed.is_quorum(acked);
        }
        if planted!(ReconfigNewQuorum) {
            return self.pending().unwrap_or(&self.committed).is_quorum(acked);
        }
        self.all().all(|config| config.is_quorum(acked))
    }

    /// Whether they are a quorum of one that counts: enough to learn who leads, as a proposed
    /// configuration may have come to nothing, or be in force by now. Not enough to elect.
    pub fn has_some_quorum(&self, acked: impl Fn(ServerId) -> bool) -> bool {
        self.all().any(|config| config.is_quorum(&acked))
    }

    /// Whether `id` votes in any of them. Answers to `getCurrentAndNextConfigVoters`.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.all().any(|config| config.is_participant(id))
    }

    /// Whether `id` is a member of any of them.
    pub fn knows(&self, id: ServerId) -> bool {
        self.all().any(|config| config.member(id).is_some())
    }

    /// Whoever votes in any of them, each once.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        let committed = &self.committed;
        let added = self.pending().into_iter().flat_map(Config::voters);
        committed.voters().chain(added.filter(|&id| !committed.is_participant(id)))
    }

    /// The members of all of them, each once.
    pub fn members(&self) -> impl Iterator<Item = ServerId> {
        let committed = &self.committed;
        let added = self.pending().into_iter().flat_map(Config::members);
        let added = added.filter(|member| committed.member(member.id).is_none());
        committed.members().chain(added).map(|member| member.id)
    }

    /// Where the member `id` is met by others: as the committed configuration says, then as the
    /// proposed one does where it says something else.
    pub fn addresses(&self, id: ServerId, port: Port) -> impl Iterator<Item = (&str, u16)> {
        let committed = &self.committed;
        (0..2 * ADDRESSES_MAX).filter_map(move |at| {
            let Some(at) = at.checked_sub(ADDRESSES_MAX) else {
                return committed.address(id, port, at);
            };
            let new = self.pending()?.address(id, port, at)?;
            (!committed.addresses(id, port).any(|old| old == new)).then_some(new)
        })
    }
}
