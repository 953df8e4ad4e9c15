//! Registered platforms (LG-3).

use crate::{Address, PlatformName};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use polity_crypto::{Preimage, Sha256Digest, domain};

/// One platform. Its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Platform {
    pub(crate) name: PlatformName,
    /// Fingerprint of its key.
    pub(crate) key: Sha256Digest,
    pub(crate) quota: u64,
    /// Accounts opened within the quota.
    pub(crate) opened: u64,
}

/// A platform as everybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PlatformView {
    /// Its name.
    pub name: PlatformName,
    /// Fingerprint of its key.
    pub key: Sha256Digest,
    /// How many accounts it may open without paying for them.
    pub quota: u64,
    /// How many of them it has opened.
    pub opened: u64,
}

/// Every platform, in the order of registration. They are few, so their digest covers the list.
#[derive(Clone, Default)]
pub(crate) struct Platforms {
    list: Vec<Platform>,
    numbers: BTreeMap<PlatformName, u16>,
    /// Digest of the list, until something changes.
    digest: Option<Sha256Digest>,
}

impl Platforms {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn number(&self, name: &PlatformName) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// The platform of an account.
    pub(crate) fn number_of(&self, address: &Address) -> Option<u16> {
        self.numbers.get(address.platform()).copied()
    }

    pub(crate) fn get(&self, number: u16) -> &Platform {
        &self.list[usize::from(number)]
    }

    pub(crate) fn get_mut(&mut self, number: u16) -> &mut Platform {
        self.digest = None;
        &mut self.list[usize::from(number)]
    }

    /// Appends a platform; the caller has checked that its name is new and that it fits.
    pub(crate) fn push(&mut self, platform: Platform) {
        self.digest = None;
        self.numbers
            .insert(platform.name.clone(), self.list.len() as u16);
        self.list.push(platform);
    }

    /// Takes the last platform away again.
    pub(crate) fn pop(&mut self) {
        self.digest = None;
        if let Some(platform) = self.list.pop() {
            self.numbers.remove(&platform.name);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Platform> {
        self.list.iter()
    }

    pub(crate) fn root(&mut self) -> Sha256Digest {
        if let Some(digest) = self.digest {
            return digest;
        }
        let mut preimage = Preimage::new(domain::PLATFORMS).u32(self.list.len() as u32);
        for platform in &self.list {
            preimage = preimage
                .bytes(platform.name.as_str().as_bytes())
                .array(platform.key.as_bytes())
                .u64(platform.quota)
                .u64(platform.opened);
        }
        let digest = preimage.sha256();
        self.digest = Some(digest);
        digest
    }
}

impl From<&Platform> for PlatformView {
    fn from(platform: &Platform) -> Self {
        Self {
            name: platform.name.clone(),
            key: platform.key,
            quota: platform.quota,
            opened: platform.opened,
        }
    }
}
