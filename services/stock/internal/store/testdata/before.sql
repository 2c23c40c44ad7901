INSERT INTO items (item_id, policy) VALUES (1, 'deny'), (2, 'backorder');
INSERT INTO stock (item_id, location, on_hand, available, held, committed, floor, version) VALUES (1, 'main', 7, 4, 3, 0, 0, 3), (2, 'main', -2, -2, 0, 0, NULL, 1);
INSERT INTO reservations (id, state, reference, expires_at, created_at, updated_at, key, fingerprint, ttl) VALUES
	('01a20425-7bdf-7b6e-9f94-ea1d0c4c620a', 'HELD', '', 32503680000000, 1, 1, 'k', 'f', 900000),
	('01a20425-7bdf-7b6e-9f94-ea1d0c4c620b', 'FULFILLED', '', 1, 1, 1, NULL, 'f', 900000);
INSERT INTO reservation_lines (reservation_id, line, item_id, location, quantity) VALUES
	('01a20425-7bdf-7b6e-9f94-ea1d0c4c620a', 0, 1, 'main', 3),
	('01a20425-7bdf-7b6e-9f94-ea1d0c4c620b', 0, 1, 'main', 1);
INSERT INTO movements (item_id, location, delta, reason, reference, created_at) VALUES
	(1, 'main', 8, 'received', 'import', 1), (1, 'main', -1, 'sold', '01a20425-7bdf-7b6e-9f94-ea1d0c4c620b', 1), (2, 'main', -2, 'sold', '', 1);
INSERT INTO commands (operation, key, item_id, fingerprint, result, created_at) VALUES ('import', 'import/hat/S', 1, '', 8, 1);
