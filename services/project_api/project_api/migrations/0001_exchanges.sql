CREATE TABLE agent.exchanges (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    user_name text NOT NULL,
    course text NOT NULL,
    question text NOT NULL,
    answer text NOT NULL,
    sources jsonb NOT NULL,
    timings jsonb NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('completed', 'interrupted', 'error')),
    error text
);

CREATE INDEX exchanges_created_at ON agent.exchanges (created_at);

COMMENT ON TABLE agent.exchanges IS 'One question and what became of it';
COMMENT ON COLUMN agent.exchanges.created_at IS 'When the question arrived';
COMMENT ON COLUMN agent.exchanges.answer IS 'What the user was sent, also when the answer broke off';
COMMENT ON COLUMN agent.exchanges.sources IS 'Passages given to Saiga: [{n, collection, id, title, source, score}]';
COMMENT ON COLUMN agent.exchanges.timings IS 'Seconds: embed, search, first_token (after asking Saiga), total; a stage not reached is absent';
COMMENT ON COLUMN agent.exchanges.outcome IS 'interrupted: the client went away before the end';
