"""The tables of the history, and the steps that bring an older file up to them."""

# A step is applied once, in order; `user_version` counts those that were. A step is never changed, only added.
STEPS = (
    """
    CREATE TABLE conversations (
        -- No number comes again: who holds that of a conversation that was deleted must not write into another.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        place TEXT NOT NULL,
        system TEXT,
        begun REAL NOT NULL,
        changed REAL NOT NULL
    );
    CREATE INDEX conversations_by_place ON conversations (place, changed);
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        role TEXT NOT NULL,
        state TEXT NOT NULL,
        at REAL NOT NULL,
        text TEXT NOT NULL,
        thought TEXT NOT NULL DEFAULT '',
        items TEXT NOT NULL DEFAULT '[]',
        endpoint TEXT NOT NULL,
        host TEXT NOT NULL DEFAULT '',
        model TEXT NOT NULL DEFAULT '',
        options TEXT NOT NULL DEFAULT '{}',
        usage TEXT,
        cost_usd REAL,
        cost_source TEXT,
        request_id TEXT,
        response_id TEXT,
        stored INTEGER NOT NULL DEFAULT 0,
        facts TEXT NOT NULL DEFAULT '{}',
        indexed INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX messages_by_conversation ON messages (conversation);
    CREATE INDEX messages_by_response ON messages (response_id) WHERE response_id IS NOT NULL;
    CREATE INDEX messages_streaming ON messages (state) WHERE state = 'streaming';
    CREATE INDEX messages_not_indexed ON messages (id) WHERE indexed = 0;
    CREATE TABLE pieces (
        id INTEGER PRIMARY KEY,
        message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        choice INTEGER NOT NULL,
        text TEXT NOT NULL
    );
    CREATE INDEX pieces_by_message ON pieces (message);
    CREATE VIRTUAL TABLE words USING fts5 (text, content = 'messages', content_rowid = 'id');
    CREATE TRIGGER messages_removed AFTER DELETE ON messages WHEN old.indexed BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    END;
    CREATE TRIGGER messages_changed AFTER UPDATE OF text ON messages WHEN old.indexed BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
        UPDATE messages SET indexed = 0 WHERE id = old.id;
    END;
    """,
    """
    -- What was asked and is not kept word by word: summed up by the hour (since 1970), so that any day can be told.
    CREATE TABLE spent (
        hour INTEGER NOT NULL,
        model TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        cost_source TEXT NOT NULL,
        requests INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL,
        PRIMARY KEY (hour, model, endpoint, cost_source)
    ) WITHOUT ROWID;
    """,
)
