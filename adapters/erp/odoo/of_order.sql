select partner.id
  from sale_order s
  left join res_partner billed on billed.id = s.partner_invoice_id
  cross join lateral (values (s.partner_id), (billed.commercial_partner_id)) partner(id)
 where s.id = any($1)
