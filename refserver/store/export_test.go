package store

import "database/sql"

// SetAfterCheck runs f in every Commit between decision and insert.
func (s *SQL) SetAfterCheck(f func()) { s.afterCheck = f }

// Pools are the connections that write and those that read.
func (s *SQL) Pools() (writer, readers *sql.DB) { return s.writer, s.readers }
