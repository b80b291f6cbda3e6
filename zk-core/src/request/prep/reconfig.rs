//! A reconfiguration: the ensemble's new configuration, as data of `/zookeeper/config`.

use super::{Prep, Progress, Refusal, STAT};
use crate::tree::Cost;
use crate::tree::path::CONFIG;
use crate::wire::Code;
use crate::wire::client::perms;
use crate::wire::jute::{self, Buffer, Slice, Ustring};
use crate::wire::txn::SetDataTxn;

impl Prep<'_, '_> {
    /// What the configuration becomes, or why it does not, was found out before.
    pub(super) fn reconfig(
        &mut self,
        progress: &mut Progress<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let Progress { ask, zxid, time, .. } = *progress;
        if !self.options.reconfigures() {
            return Err(Code::ReconfigDisabled.into());
        }
        self.check_session(ask)?;
        let text = self.config?;
        let node = self.state(CONFIG)?;
        self.allows(node.acl, perms::WRITE, ask.ids)?;
        let cells = self.tree.unit().grown(text.len().saturating_sub(node.data_len));
        // The bytes of its text do not count.
        let cost = Cost { cells, ..Cost::default() };
        self.fits(&cost.plus(&progress.cost))?;
        let (path, data) = (Ustring(Some(CONFIG)), Buffer::new(text));
        jute::write(&SetDataTxn { path, data, version: -1 }, out)?;
        let mut after = node;
        after.stat.version = -1;
        after.stat.mtime = time;
        after.stat.mzxid = zxid;
        after.data_len = text.len();
        self.change(CONFIG, zxid, Some(&node), after)?;
        progress.cost = progress.cost.plus(&cost);
        progress.reply += 4 + text.len() + STAT;
        Ok(())
    }
}
