//! The types that every layer above shares. Each is valid by construction: a value that exists was
//! checked when it was made, and nothing checks it a second time.
//!
//! Nothing here reads a disk, a clock or another layer of the crate, except the byte reader in
//! `codec`.

mod attributes;
mod crdt;
mod features;
mod features_in_use;
mod found;
mod hlc;
mod id;
mod joined;
mod key;
pub mod limits;
mod list;
mod member;
mod name;
mod namespace;
mod namespaces;
mod origin;
mod overrides;
mod owed;
mod software;
mod system;
mod token;
mod version;
pub mod visible;

pub use self::{
    attributes::{Attributes, Metadata, MetadataError},
    crdt::{Merge, Rank, VersionVector, merge},
    features::Features,
    features_in_use::{FeatureInUse, FeaturesInUse},
    found::{BodyId, Change, Found, FoundState, Large},
    hlc::{Clock, Hlc, Present},
    id::{MemberId, NamespaceId, OriginId, ParseIdError},
    joined::{Field, FieldError, FieldNumber, FieldValue, JoinedRow},
    key::{Key, KeyError},
    list::{ListQuery, Listed, Page},
    member::{Member, MemberError, Members},
    name::{Account, AccountError, LocalName, LocalNameError, Title, TitleError},
    namespace::{Namespace, derive_id},
    namespaces::{Namespaces, TitleConflict},
    origin::{LOST_MEMBER, Lane, OriginEntry, OriginInfo, OriginRegistry},
    overrides::{LimitOverride, LimitOverrides, OverrideError, OverrideRule, OverrideTarget},
    owed::{DamagedKey, Owed, OwedKeys, OwedReason, UNPLACED},
    software::{Software, SoftwareError, SoftwareVersion},
    system::SystemRow,
    token::{AccessToken, AccessTokenError, AccessTokenId, AccessTokens},
    version::{Dot, Version},
};
