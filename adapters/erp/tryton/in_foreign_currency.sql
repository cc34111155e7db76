with {{>company.sql}}
select distinct s.party
  from company c
  join sale_sale s on s.company = c.company and s.currency <> c.currency_id and s.state in ('confirmed', 'processing')
 where s.currency = any($1) or c.currency_id = any($1)
