//! Settings that change while the agent runs: checked whole, then obeyed whole. Whoever watches the settings' source (the
//! `aws-node` ConfigMap) hands over the new environment as it would be at a start.

use std::sync::Arc;

use freeboard_pool::{SettingChange, SettingsRefused};
use freeboard_settings::{Environment, Settings, SettingsError};
use tokio::sync::watch;

use crate::pool_handle::{Command, PoolError, PoolHandle};
use crate::pool_settings::pool_settings;

/// The settings in force, and the way to change them.
#[derive(Debug)]
pub struct LiveSettings {
    pool: PoolHandle,
    current: watch::Sender<Arc<Settings>>,
}

/// What new settings changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What the pool obeys from now on.
    pub changes: Vec<SettingChange>,
    /// Variables whose new value counts from the agent's next start on.
    pub at_next_start: Vec<&'static str>,
}

/// New settings were refused as a whole; the old ones stay.
#[derive(Debug, thiserror::Error)]
pub enum SettingsNotTaken {
    /// A value is wrong by itself, or does not fit another.
    #[error("the new settings are refused and the old ones stay: {0}")]
    Wrong(#[from] SettingsError),
    /// They contradict the node as it is.
    #[error(transparent)]
    Refused(#[from] SettingsRefused),
    /// The pool did not answer.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

impl LiveSettings {
    /// The settings of the start.
    #[must_use]
    pub fn new(pool: PoolHandle, settings: Arc<Settings>) -> Self {
        Self { pool, current: watch::Sender::new(settings) }
    }

    /// The settings in force, to follow.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<Settings>> {
        self.current.subscribe()
    }

    /// Takes a new environment. What can change while the agent runs is obeyed at once; the rest is named and waits for the next
    /// start. The pool logs what changed and what follows from it.
    ///
    /// # Errors
    /// When anything in it is wrong or contradicts the node as it is; then nothing has changed.
    pub async fn take(&mut self, environment: &Environment) -> Result<Taken, SettingsNotTaken> {
        let taken = self.try_take(environment).await;
        match &taken {
            Ok(taken) if !taken.at_next_start.is_empty() => {
                tracing::warn!(variables = ?taken.at_next_start, "new values count from the agent's next start on");
            }
            Ok(_) => {}
            Err(error) => tracing::error!("{error}"),
        }
        taken
    }

    async fn try_take(&mut self, environment: &Environment) -> Result<Taken, SettingsNotTaken> {
        let (new, notices) = Settings::parse(environment)?;
        for notice in notices {
            tracing::warn!("{}", notice.0);
        }
        let before = Arc::clone(&self.current.borrow());
        let live = before.with_live(&new);
        let wanted = pool_settings(&live.settings);
        let changes = self.pool.ask(|answer| Command::Settings(Box::new(wanted), answer)).await??;
        self.current.send_replace(Arc::new(live.settings));
        Ok(Taken { changes, at_next_start: live.at_next_start })
    }
}
