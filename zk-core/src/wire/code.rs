//! Error codes and operation codes: the small integers of the protocol.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(transparent)]
        pub struct $name(pub i32);

        #[allow(non_upper_case_globals, reason = "they read as the variants they are")]
        impl $name {
            $($(#[$vdoc])* pub const $variant: Self = Self($value);)*

            /// The name of a known code.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($variant)),)*
                    _ => None,
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.0),
                }
            }
        }
    };
}

codes! {
    /// What a reply header's `err` says. Answers to `KeeperException.Code`.
    Code {
        /// Success.
        Ok = 0,
        /// The server cannot do it (here: a limit of its capacity is reached).
        SystemError = -1,
        /// The operation after a failed one in a multi.
        RuntimeInconsistency = -2,
        /// Data is inconsistent.
        DataInconsistency = -3,
        /// The connection was lost (client side only).
        ConnectionLoss = -4,
        /// A request or reply could not be encoded or decoded.
        MarshallingError = -5,
        /// No such operation, or it is switched off.
        Unimplemented = -6,
        /// The operation took too long.
        OperationTimeout = -7,
        /// An argument is not valid (a path, flags, a TTL).
        BadArguments = -8,
        /// The session is not known here.
        UnknownSession = -12,
        /// No quorum of the new configuration is connected.
        NewConfigNoQuorum = -13,
        /// Another reconfiguration is under way.
        ReconfigInProgress = -14,
        /// The node does not exist.
        NoNode = -101,
        /// The ACL does not allow it.
        NoAuth = -102,
        /// The version is not the expected one.
        BadVersion = -103,
        /// An ephemeral node cannot have children.
        NoChildrenForEphemerals = -108,
        /// The node exists already.
        NodeExists = -110,
        /// The node has children.
        NotEmpty = -111,
        /// The session has expired.
        SessionExpired = -112,
        /// The callback is not valid (client side only).
        InvalidCallback = -113,
        /// The ACL is not valid.
        InvalidAcl = -114,
        /// Authentication failed.
        AuthFailed = -115,
        /// The session moved to another server.
        SessionMoved = -118,
        /// A write was sent to a read-only server.
        NotReadOnly = -119,
        /// A local session cannot own an ephemeral node.
        EphemeralOnLocalSession = -120,
        /// There is no such watch.
        NoWatcher = -121,
        /// The request timed out.
        RequestTimeout = -122,
        /// Reconfiguration is switched off.
        ReconfigDisabled = -123,
        /// The session must authenticate with SASL.
        SessionClosedRequireSaslAuth = -124,
        /// A hard quota is exceeded.
        QuotaExceeded = -125,
        /// The request was throttled.
        ThrottledOp = -127,
    }
}

codes! {
    /// The `type` of a request header, a transaction header or an operation in a multi.
    /// Answers to `ZooDefs.OpCode`.
    OpCode {
        /// A watch event; as a request it is invalid.
        Notification = 0,
        /// Create a node, answer its path.
        Create = 1,
        /// Delete a node.
        Delete = 2,
        /// Does a node exist?
        Exists = 3,
        /// Data and stat.
        GetData = 4,
        /// Replace the data.
        SetData = 5,
        /// ACL and stat.
        GetAcl = 6,
        /// Replace the ACL.
        SetAcl = 7,
        /// Names of the children.
        GetChildren = 8,
        /// Wait for what was proposed so far.
        Sync = 9,
        /// Keep the session alive.
        Ping = 11,
        /// Names of the children, and stat.
        GetChildren2 = 12,
        /// Check a version (inside a multi only).
        Check = 13,
        /// Several writes, all or nothing.
        Multi = 14,
        /// Create a node, answer path and stat.
        Create2 = 15,
        /// Change the membership.
        Reconfig = 16,
        /// Is this watch set?
        CheckWatches = 17,
        /// Remove a watch.
        RemoveWatches = 18,
        /// Create a container node.
        CreateContainer = 19,
        /// Remove an empty container or TTL node (internal).
        DeleteContainer = 20,
        /// Create a node with a time to live.
        CreateTtl = 21,
        /// Several reads.
        MultiRead = 22,
        /// Authenticate with a scheme.
        Auth = 100,
        /// Register watches again after a reconnect.
        SetWatches = 101,
        /// A SASL token.
        Sasl = 102,
        /// The session's ephemeral nodes.
        GetEphemerals = 103,
        /// Number of descendants.
        GetAllChildrenNumber = 104,
        /// `SetWatches` with persistent watches.
        SetWatches2 = 105,
        /// Add a persistent watch.
        AddWatch = 106,
        /// The identities of this connection.
        WhoAmI = 107,
        /// Create a session (internal).
        CreateSession = -10,
        /// Close the session.
        CloseSession = -11,
        /// A failed transaction (in logs), a failed operation (in multi replies).
        Error = -1,
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn codes_print_their_names() {
        assert_eq!(format!("{:?}", Code::NoNode), "NoNode");
        assert_eq!(format!("{:?}", Code(-999)), "Code(-999)");
        assert_eq!(OpCode(21), OpCode::CreateTtl);
    }
}
