//! Sources besides the URL that loading a URL may use.

use std::sync::Arc;

use secrecy::SecretString;

use crate::asset::Asset;
use crate::env::Environment;
use crate::problem::Diagnostic;
use crate::url::query::Query;

use super::param::Param;
use super::reader::ParamReader;
use super::services::Services;

/// Finds the join link of a community that the user saved under a name.
type FindCommunity = dyn Fn(&str) -> Result<Option<String>, Diagnostic> + Send + Sync;

/// Communities that the user saved under names, so that `sessions://NAME` means one of them. The caller says where
/// they are kept.
#[derive(Clone)]
pub struct SavedCommunities(Arc<FindCommunity>);

impl SavedCommunities {
    /// Looks names up with `find`, which returns the join link, or `None` if there is no such name.
    pub fn new(find: impl Fn(&str) -> Result<Option<String>, Diagnostic> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// Returns the join link that was saved under a name.
    pub(super) fn find(&self, name: &str) -> Result<Option<String>, Diagnostic> {
        (self.0)(name)
    }
}

impl std::fmt::Debug for SavedCommunities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedCommunities").finish_non_exhaustive()
    }
}

/// Sources besides the URL that loading a URL may use.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Context {
    /// Environment variables and home folder.
    pub env: Environment,
    /// Defaults of the run.
    pub asset: Asset,
    /// The seed used for a Session join link that carries none (D30).
    pub identity: Option<SecretString>,
    /// The services that URLs may name.
    pub services: Services,
    /// The communities that `sessions://NAME` may mean.
    pub communities: Option<SavedCommunities>,
    /// Warn about configuration files that hold secrets and may be read by others (D32).
    pub check_permissions: bool,
}

crate::setters::setters!(Context {
    with_env(env: Environment),
    with_asset(asset: Asset),
    with_identity(identity: Option<SecretString>),
    with_services(services: Services),
    with_communities(communities: Option<SavedCommunities>),
    with_check_permissions(check_permissions: bool),
});

impl Default for Context {
    fn default() -> Self {
        Self {
            env: Environment::default(),
            asset: Asset::default(),
            identity: None,
            services: Services::default(),
            communities: None,
            check_permissions: true,
        }
    }
}

impl Context {
    /// Returns a reader of these parameters, of a service that declares `own` besides those of all services.
    pub(super) fn reader<'a>(&'a self, query: &'a Query, own: &'static [Param]) -> ParamReader<'a> {
        ParamReader::new(query, &self.env, &self.asset, self.identity.as_ref(), own)
    }
}
